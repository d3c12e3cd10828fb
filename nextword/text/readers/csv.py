"""CSV and TSV: one record a line, the first line names the columns, the text stands in `--text-column`; RFC 4180.

A field in quotes may hold separators, newlines, and quotes written twice.
"""

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from nextword.core.errors import DataError, nearest
from nextword.text.settings import TextSettings
from nextword.text.stream import decode, pieces, reading

ENDINGS = ("csv", "tsv")
TABS = ".tsv"


def read(
    path: Path, settings: TextSettings, limit: int, columns: Sequence[str] = ()
) -> Iterator[tuple[str, str | None, Mapping[str, object]]]:
    """Text, `url` (where there is such a column) and what stands in `columns`, of every record in `path`, lazily."""
    too_long = DataError(
        f"{path} has a line of more than {limit / 1e6:.3g} MB, the longest that is read; cut the record into several, "
        "or raise --text.max-document-mb"
    )
    tabs = TABS in [suffix.lower() for suffix in path.suffixes]
    with reading(path) as stream:
        lines = (decode(piece, path) + "\n" for piece in pieces(stream, b"\n", limit, too_long))
        rows = csv.reader(lines, delimiter="\t" if tabs else ",", strict=True)
        try:
            names = next(rows, [])
            for column in (settings.text_column, *columns):
                if column not in names:
                    known = nearest(column, names) if names else "; the file is empty"
                    raise DataError(f"{path}: no column {column!r}{known}; choose with --text-column")
            for row in rows:
                if len(row) not in {0, len(names)}:
                    raise DataError(
                        f"{path}:{rows.line_num}: {len(row)} fields where the first line names {len(names)} columns"
                    )
                if row:
                    record = dict(zip(names, row, strict=True))
                    yield record[settings.text_column], record.get("url"), {name: record[name] for name in columns}
        except csv.Error as error:
            raise DataError(
                f"{path}:{rows.line_num}: {error}; mend the record, or write the file as jsonl or parquet"
            ) from None
