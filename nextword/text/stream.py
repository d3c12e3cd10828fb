"""Bytes of a text file as a stream: decompressed, cut at a separator, decoded, with errors that say where.

Nothing here holds more than one document and one chunk, so that a file of any size is read in the same memory. UTF-8
never contains one character's bytes inside another's, which is why searching bytes for a separator's bytes is searching
the text.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, Protocol

import psutil
import pyarrow as pa

from nextword.core.errors import DataError

CHUNK_BYTES = 1 << 20
COMPRESSIONS = {".gz": "gzip", ".zst": "zstd"}  # ending: Arrow's name; both formats may hold several members
MEMORY_SHARE = 64  # tokenising a document takes about 25 times its size, in several processes
CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
BOM = b"\xef\xbb\xbf"
UTF16 = (b"\xff\xfe", b"\xfe\xff")


class ByteStream(Protocol):
    """What is read from: a file, a decompressor, or bytes in memory."""

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes; none at the end."""


class Piece(NamedTuple):
    """Bytes between two separators, and where in the (decompressed) file they begin."""

    offset: int
    data: bytes


def longest_document() -> int:
    """The bytes a document may have by default: a 64th of the machine's (or container's) memory."""
    memory: int = psutil.virtual_memory().total
    for path in map(Path, CGROUP_LIMITS):
        if path.exists() and (limit := path.read_text().strip()).isdecimal():
            memory = min(memory, int(limit))
    return memory // MEMORY_SHARE


@contextmanager
def reading(path: Path) -> Iterator[ByteStream]:
    """The bytes of `path`, decompressed where its ending says so; DataError when it is missing, barred or broken."""
    compression = COMPRESSIONS.get(path.suffix.lower())
    try:
        with pa.input_stream(str(path), compression=compression) as stream:
            yield stream
    except (OSError, pa.ArrowException) as error:
        raise broken(path, error) from None


def broken(path: Path, error: Exception) -> DataError:
    """The error for a file that the system or its format's reader cannot read."""
    if isinstance(error, PermissionError):
        return DataError(f"{path} cannot be read: no permission; change it with chmod u+r")
    cause = str(error).strip().splitlines()[0].rstrip(".") if str(error).strip() else type(error).__name__
    return DataError(f"{path} cannot be read to its end ({cause}): truncated or damaged; copy or download it again")


def pieces(stream: ByteStream, separator: bytes, limit: int, too_long: DataError) -> Iterator[Piece]:
    """The stream cut at every `separator` as `bytes.split` cuts (an empty separator: not at all), lazily.

    A piece of more than `limit` bytes raises `too_long`. A byte order mark at the start is dropped.
    """
    buffer, offset, first = bytearray(), 0, True
    while chunk := stream.read(CHUNK_BYTES):
        unseen = max(0, len(buffer) - len(separator) + 1)  # no separator begins before it
        buffer += chunk
        if first and (len(buffer) >= len(BOM) or not BOM.startswith(buffer)):
            first = False
            if buffer.startswith(BOM):
                del buffer[: len(BOM)]
                offset, unseen = len(BOM), 0
        start = 0
        while separator and (end := buffer.find(separator, max(start, unseen))) >= 0:
            if end - start > limit:
                raise too_long
            yield Piece(offset + start, bytes(buffer[start:end]))
            start = end + len(separator)
        del buffer[:start]
        offset += start
        if len(buffer) > limit + len(BOM) + len(separator):
            raise too_long
    if len(buffer) > limit:
        raise too_long
    yield Piece(offset, bytes(buffer))


def decode(piece: Piece, path: Path) -> str:
    """The text of a piece; DataError with the byte offset when it is not UTF-8 text."""
    nul = piece.data.find(b"\0")
    if piece.offset == 0 and piece.data.startswith(UTF16):
        raise DataError(f"{path} is UTF-16, not UTF-8; convert it: iconv -f UTF-16 -t UTF-8 {path} > utf8.txt")
    if nul >= 0:
        raise DataError(
            f"{path} is a binary file, not text (a zero byte at offset {piece.offset + nul:,}); "
            "text comes from txt, jsonl and parquet files, these also as .gz or .zst (not parquet)"
        )
    try:
        return piece.data.decode()
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} is not valid UTF-8: byte 0x{piece.data[error.start]:02x} at offset "
            f"{piece.offset + error.start:,}; convert it, for example: iconv -f LATIN1 -t UTF-8 {path} > utf8.txt"
        ) from None
