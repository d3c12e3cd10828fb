"""Plain text: a file is one document, or one document stands between every two separators.

Newlines stay as they are; nothing is stripped.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from nextword.core.errors import DataError
from nextword.text.settings import TextSettings, unescape
from nextword.text.stream import decode, pieces, reading

ENDINGS = ("txt", "text", "md")
FIRST = "first"


def read(
    path: Path, settings: TextSettings, limit: int, columns: Sequence[str] = ()
) -> Iterator[tuple[str, str | None, Mapping[str, object]]]:
    """Text, (absent) address and columns of every document in `path`, lazily; `limit` is the longest in bytes.

    There is one column, FIRST: the first word, which then is no part of the text.
    """
    for column in columns:
        if column != FIRST:
            raise DataError(f"{path} is plain text, which has no column {column!r}; {FIRST!r} is a text's first word")
    separator = unescape(settings.separator).encode() if settings.separator is not None else b""
    cut = "split it at another --separator" if separator else 'split it, for example with --separator "\\n\\n"'
    too_long = DataError(
        f"{path} has a document of more than {limit / 1e6:.3g} MB, the longest that is read; {cut}, "
        "or raise --text.max-document-mb"
    )
    with reading(path) as stream:
        for piece in pieces(stream, separator, limit, too_long):
            text = decode(piece, path)
            if not columns:
                yield text, None, {}
            elif words := text.split(maxsplit=1):
                yield "".join(words[1:]).rstrip(), None, {FIRST: words[0]}
