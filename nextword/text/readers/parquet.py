"""Parquet: one document a row, the text in the column `--text-column`, read by row group so that memory stays flat."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from nextword.core.errors import DataError, nearest
from nextword.text.settings import TextSettings
from nextword.text.stream import broken

ENDINGS = ("parquet",)
ROWS = 256  # a batch


def read(
    path: Path, settings: TextSettings, limit: int, columns: Sequence[str] = ()
) -> Iterator[tuple[str, str | None, Mapping[str, object]]]:
    """Text, `url` (where there is such a column) and what stands in `columns`, of every row in `path`, lazily."""
    column = settings.text_column
    try:
        with pq.ParquetFile(path) as file:
            wanted = check_columns(file.schema_arrow, path, column, columns)
            row = 0
            for batch in file.iter_batches(batch_size=ROWS, columns=wanted):
                texts = batch.column(column)
                urls = batch.column("url").to_pylist() if "url" in wanted else [None] * len(texts)
                more = batch.select(list(columns)).to_pylist() if columns else [{}] * len(texts)
                for text, url, meta in zip(texts, urls, more, strict=True):
                    row += 1
                    yield value(text, f"{path}, row {row}", column, limit), url, meta
    except (OSError, pa.ArrowException) as error:
        raise broken(path, error) from None


def check_columns(schema: pa.Schema, path: Path, column: str, columns: Sequence[str]) -> list[str]:
    """The columns to read; DataError when there is no text column of that name, or one of `columns` is missing."""
    if column not in schema.names:
        raise DataError(f"{path}: no column {column!r}{nearest(column, schema.names)}; choose with --text-column")
    for name in columns:
        if name not in schema.names:
            raise DataError(f"{path}: no column {name!r}{nearest(name, schema.names)}")
    if not is_text(schema.field(column).type):
        raise DataError(
            f"{path}: column {column!r} holds {schema.field(column).type}, not strings; choose with --text-column"
        )
    with_url = column != "url" and "url" in schema.names and is_text(schema.field("url").type)
    return list(dict.fromkeys([column, *(["url"] if with_url else []), *columns]))


def is_text(kind: pa.DataType) -> bool:
    """Whether an Arrow type is a string, possibly dictionary-encoded."""
    inner = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_string(inner) or pa.types.is_large_string(inner) or pa.types.is_string_view(inner))


def value(scalar: pa.Scalar, where: str, column: str, limit: int) -> str:
    """The text of one cell; DataError when it is null, no UTF-8, or longer than `limit` bytes."""
    try:
        text = scalar.as_py()
    except UnicodeDecodeError as error:
        raise DataError(f"{where}: {column!r} is not valid UTF-8 (byte {error.start:,}); write the file anew") from None
    if text is None:
        raise DataError(f"{where}: {column!r} is null, not a string; remove such rows or choose another --text-column")
    if len(text) > limit or (len(text) > limit // 4 and len(text.encode()) > limit):
        raise DataError(
            f"{where}: a document of more than {limit / 1e6:.3g} MB, the longest that is read; "
            "cut it into several rows, or raise --text.max-document-mb"
        )
    return str(text)
