"""JSON Lines: one JSON object a line, its text under the key `--text-column`; https://jsonlines.org."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from nextword.core.errors import DataError, nearest
from nextword.text.settings import TextSettings
from nextword.text.stream import decode, pieces, reading

ENDINGS = ("jsonl", "ndjson", "json")


def read(
    path: Path, settings: TextSettings, limit: int, columns: Sequence[str] = ()
) -> Iterator[tuple[str, str | None, Mapping[str, object]]]:
    """Text, `url` and `columns` (where the record has them) of every record in `path`, lazily, blank lines left out."""
    too_long = DataError(
        f"{path} has a line of more than {limit / 1e6:.3g} MB, the longest that is read; cut the record into several, "
        "or raise --text.max-document-mb"
    )
    with reading(path) as stream:
        for number, piece in enumerate(pieces(stream, b"\n", limit, too_long), 1):
            if line := decode(piece, path).strip():
                yield record(line, f"{path}:{number}", settings.text_column, columns)


def record(line: str, where: str, column: str, columns: Sequence[str]) -> tuple[str, str | None, Mapping[str, object]]:
    """The text, url and `columns` of a line; DataError naming `where` when it is no object with a text in `column`."""
    try:
        tree = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: not JSON ({error}); every line must be one whole JSON object") from None
    if not isinstance(tree, dict):
        raise DataError(f"{where}: {type(tree).__name__} where an object was expected; every line must be one object")
    if column not in tree:
        raise DataError(f"{where}: no key {column!r}{nearest(column, map(str, tree))}; choose with --text-column")
    text, url = tree[column], tree.get("url")
    if not isinstance(text, str):
        raise DataError(
            f"{where}: {column!r} holds {type(text).__name__}, not a string; choose another --text-column or mend it"
        )
    if not text.isascii():
        check_surrogates(text, where)
    return text, url if isinstance(url, str) else None, {name: tree[name] for name in columns if name in tree}


def check_surrogates(text: str, where: str) -> None:
    r"""Raises DataError for half a surrogate pair (`\ud83d` alone), which JSON can spell but UTF-8 cannot hold."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise DataError(
            f"{where}: half a surrogate pair (U+{ord(text[error.start]):04X}) is no character; mend the record"
        ) from None
