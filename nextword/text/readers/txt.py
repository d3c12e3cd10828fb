"""Plain text: a file is one document, or one document stands between every two separators.

Newlines stay as they are; nothing is stripped.
"""

from collections.abc import Iterator
from pathlib import Path

from nextword.core.errors import DataError
from nextword.text.settings import TextSettings, unescape
from nextword.text.stream import decode, pieces, reading

ENDINGS = ("txt", "text", "md")


def read(path: Path, settings: TextSettings, limit: int) -> Iterator[tuple[str, str | None]]:
    """Text and (absent) address of every document in `path`, lazily; `limit` is the longest in bytes."""
    separator = unescape(settings.separator).encode() if settings.separator is not None else b""
    cut = "split it at another --separator" if separator else 'split it, for example with --separator "\\n\\n"'
    too_long = DataError(
        f"{path} has a document of more than {limit / 1e6:.3g} MB, the longest that is read; {cut}, "
        "or raise --text.max-document-mb"
    )
    with reading(path) as stream:
        for piece in pieces(stream, separator, limit, too_long):
            yield decode(piece, path), None
