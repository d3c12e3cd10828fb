"""Bytes of a text file as a stream: decompressed, cut at a separator, decoded, with errors that say where.

Nothing here holds more than one document and one chunk, so that a file of any size is read in the same memory. UTF-8
never contains one character's bytes inside another's, which is why searching bytes for a separator's bytes is searching
the text.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

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


Piece = tuple[int, bytes]  # bytes between two separators, and where in the (decompressed) file they begin


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
    pending, offset = without_mark(stream)
    unseen = 0  # no separator begins before it
    while True:
        if separator and pending.find(separator, unseen) >= 0:
            *whole, rest = bytes(pending).split(separator)
            for data in whole:
                if len(data) > limit:
                    raise too_long
                yield offset, data
                offset += len(data) + len(separator)
            pending = bytearray(rest)
        if len(pending) > limit + len(separator):
            raise too_long
        unseen = max(0, len(pending) - len(separator) + 1)
        if not (chunk := stream.read(CHUNK_BYTES)):
            break
        pending += chunk
    if len(pending) > limit:
        raise too_long
    yield offset, bytes(pending)


def without_mark(stream: ByteStream) -> tuple[bytearray, int]:
    """The stream's first bytes without a byte order mark, and its length where there was one."""
    first = bytearray()
    while len(first) < len(BOM) and (chunk := stream.read(CHUNK_BYTES)):
        first += chunk
    if first.startswith(BOM):
        return first[len(BOM) :], len(BOM)
    return first, 0


def decode(piece: Piece, path: Path) -> str:
    """The text of a piece; DataError with the byte offset when it is not UTF-8 text."""
    offset, data = piece
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        if offset == 0 and data.startswith(UTF16):
            message = f"is UTF-16, not UTF-8; convert it: iconv -f UTF-16 -t UTF-8 {path} > utf8.txt"
        elif 0 in data:
            message = binary(offset + data.find(0))
        else:
            message = (
                f"is not valid UTF-8: byte 0x{data[error.start]:02x} at offset {offset + error.start:,}; "
                f"convert it, for example: iconv -f LATIN1 -t UTF-8 {path} > utf8.txt"
            )
        raise DataError(f"{path} {message}") from None
    if "\0" in text:
        raise DataError(f"{path} {binary(offset + data.find(0))}")
    return text


def binary(offset: int) -> str:
    """What to say of a file with a zero byte at `offset`."""
    return (
        f"is a binary file, not text (a zero byte at offset {offset:,}); text comes from txt, jsonl, csv and parquet "
        "files, all but the last also as .gz or .zst"
    )
