"""The GGUF file: a header, named values, a table of tensors, and their data, each part checked before it is believed.

Layout (little-endian; https://github.com/ggml-org/ggml/blob/master/docs/gguf.md): "GGUF", version, the counts of
tensors and of values; key, type and value each; name, dimensions, format and offset of each tensor; then the data,
aligned. A file comes from anywhere: no count, length or offset is used before the bytes that it speaks of are known to
be there, tensors may not overlap, and arrays do not nest. So time and memory are bounded by the size of the file.
"""

import mmap
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from nextword.core.errors import CheckpointError
from nextword.core.files import atomic_file
from nextword.models.gguf.blocks import BY_NUMBER, FORMATS, Format, to_bytes, to_tensor

MAGIC = b"GGUF"
VERSION, READABLE = 3, {2, 3}
ALIGNMENT = 32
LIMIT_BYTES = 128 << 20  # of header, values and table; the largest vocabularies take about 20 MB
MAX_DIMENSIONS = 4
STRING, ARRAY, BOOL = 8, 9, 7
SCALARS = {
    **{0: "<u1", 1: "<i1", 2: "<u2", 3: "<i2", 4: "<u4", 5: "<i4", 6: "<f4", 7: "|b1"},
    **{10: "<u8", 11: "<i8", 12: "<f8"},
}
NUMBERS = {np.dtype(text): number for number, text in SCALARS.items()}
KNOWN = "q4_0, q4_1, q5_0, q5_1, q8_0, q4_k, q5_k, q6_k, f32, f16, bf16"


@dataclass(frozen=True)
class Info:
    """Where a tensor lies: its format, its shape (rows first), and its bytes from `start` on."""

    kind: Format
    shape: tuple[int, ...]
    start: int

    @property
    def size(self) -> int:
        """Its bytes."""
        return self.kind.bytes_of(prod(self.shape))


@dataclass(frozen=True)
class Content:
    """What a file says: values by key (numbers, strings, lists of strings, arrays of numbers) and tensors by name."""

    path: Path
    values: dict[str, Any]
    infos: dict[str, Info]

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """All tensors, one after the other."""
        for name in self.infos:
            yield name, self.tensor(name)

    def tensor(self, name: str) -> Tensor:
        """One tensor, in its own type or, where it is quantised, in fp32."""
        info = self.infos[name]
        with self.path.open("rb") as file:
            file.seek(info.start)
            data = file.read(info.size)
        if len(data) != info.size:
            raise CheckpointError(f"{self.path} ends within {name!r}: it was cut while it was read")
        return to_tensor(data, info.kind, info.shape)


class Cursor:
    """A place in the file that moves on; CheckpointError where the bytes asked for are not there."""

    def __init__(self, data: mmap.mmap | bytes, path: Path) -> None:
        self.data, self.path, self.at = data, path, 0
        self.end = min(len(data), LIMIT_BYTES)

    def take(self, size: int, what: str) -> bytes:
        """The next `size` bytes."""
        if size > self.end - self.at:
            reason = "is truncated" if self.end == len(self.data) else "has more than 128 MiB of values"
            raise CheckpointError(f"{self.path} {reason}, or corrupt: {what} would take {size} bytes; get it again")
        found = self.data[self.at : self.at + size]
        self.at += size
        return found

    def number(self, form: str, what: str) -> int:
        """An unsigned integer of the struct format `form`."""
        found: int = struct.unpack("<" + form, self.take(struct.calcsize("<" + form), what))[0]
        return found

    def count(self, smallest: int, what: str) -> int:
        """A count of things of which each takes at least `smallest` bytes."""
        found = self.number("Q", what)
        if found * smallest > self.end - self.at:
            raise CheckpointError(f"{self.path} is truncated or corrupt: {found} {what} do not fit in it; get it again")
        return found

    def text(self, what: str) -> str:
        """A string with its length before it."""
        raw = self.take(self.number("Q", what), what)
        try:
            return raw.decode()
        except UnicodeDecodeError:
            raise CheckpointError(f"{self.path}: {what} is not valid UTF-8: {raw[:40]!r}") from None

    def value(self, kind: int, key: str) -> Any:
        """A value of a type."""
        if kind == STRING:
            return self.text(key)
        if kind in SCALARS:
            dtype = np.dtype(SCALARS[kind])
            return _plain(np.frombuffer(self.take(dtype.itemsize, key), dtype)[0])
        if kind != ARRAY:
            raise CheckpointError(f"{self.path}: {key!r} is of type {kind}, which GGUF does not know")
        inner = self.number("I", key)
        if inner == STRING:
            return [self.text(key) for _ in range(self.count(8, f"strings of {key!r}"))]
        if inner not in SCALARS:
            raise CheckpointError(
                f"{self.path}: {key!r} is an array of type {inner}; only numbers and strings are read"
            )
        dtype = np.dtype(SCALARS[inner])
        count = self.count(dtype.itemsize, f"numbers of {key!r}")
        return np.frombuffer(self.take(count * dtype.itemsize, key), dtype).copy()


def _plain(scalar: Any) -> Any:
    """A Python number; an fp32 becomes the shortest decimal that means it (1e-05, not 9.99999975e-06)."""
    return float(str(scalar)) if scalar.dtype == np.float32 else scalar.item()


def is_gguf(path: Path) -> bool:
    """Whether the file begins as a GGUF file."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC


def read(path: Path) -> Content:
    """The values and the table of a GGUF file; CheckpointError naming what is wrong with it."""
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _parse(Cursor(data, path))
    except (OSError, ValueError) as error:  # an empty file cannot be mapped
        raise CheckpointError(f"{path} cannot be read as GGUF: {error}") from None


def _parse(cursor: Cursor) -> Content:
    path = cursor.path
    if cursor.take(4, "the first word") != MAGIC:
        raise CheckpointError(f"{path} is no GGUF file: it does not begin with {MAGIC.decode()}")
    version = cursor.number("I", "the version")
    if version not in READABLE:
        swapped = " (a file of a big-endian machine)" if version & 0xFFFF == 0 else ""
        raise CheckpointError(f"{path} has GGUF version {version}{swapped}; versions 2 and 3 are read: convert it anew")
    tensors = cursor.count(8 + 4 + 8 + 4 + 8, "tensors")
    values: dict[str, Any] = {}
    for _ in range(cursor.count(8 + 4 + 1, "values")):
        key = cursor.text("a key")
        if key in values:
            raise CheckpointError(f"{path} has {key!r} twice; get it again")
        values[key] = cursor.value(cursor.number("I", key), key)
    if values.get("split.count", 1) != 1:
        raise CheckpointError(f"{path} is one part of several: join them first (llama-gguf-split --merge)")
    found = [_info(cursor) for _ in range(tensors)]
    alignment = values.get("general.alignment", ALIGNMENT)
    if not isinstance(alignment, int) or alignment < 1 or alignment & (alignment - 1):
        raise CheckpointError(f"{path}: general.alignment must be a power of two, received {alignment!r}")
    begin = -(-cursor.at // alignment) * alignment
    infos: dict[str, Info] = {}
    for name, info in found:
        if name in infos:
            raise CheckpointError(f"{path} has tensor {name!r} twice; get it again")
        infos[name] = Info(info.kind, info.shape, begin + info.start)
    _check_places(infos, len(cursor.data), path)
    return Content(path, values, infos)


def _info(cursor: Cursor) -> tuple[str, Info]:
    name = cursor.text("a tensor's name")
    dimensions = cursor.number("I", name)
    if not 1 <= dimensions <= MAX_DIMENSIONS:
        raise CheckpointError(f"{cursor.path}: {name!r} has {dimensions} dimensions; 1 to {MAX_DIMENSIONS} are known")
    shape = tuple(cursor.number("Q", name) for _ in range(dimensions))[::-1]
    number, start = cursor.number("I", name), cursor.number("Q", name)
    if number not in BY_NUMBER:
        raise CheckpointError(f"{cursor.path}: {name!r} is stored in type {number}, which is not read; known: {KNOWN}")
    kind = BY_NUMBER[number]
    if not all(shape) or shape[-1] % kind.block:
        raise CheckpointError(f"{cursor.path}: {name!r} of shape {shape} cannot hold blocks of {kind.block} weights")
    return name, Info(kind, shape, start)


def _check_places(infos: Mapping[str, Info], length: int, path: Path) -> None:
    """Every tensor lies in the file and none upon another: so a small file cannot ask for much memory."""
    end, before = 0, ""
    for name, info in sorted(infos.items(), key=lambda item: item[1].start):
        if info.start + info.size > length:
            raise CheckpointError(f"{path} is truncated or corrupt: {name!r} ends beyond its end; get it again")
        if info.start < end:
            raise CheckpointError(f"{path} is corrupt: {name!r} overlaps {before!r}; get it again")
        end, before = info.start + info.size, name


def write(path: Path, values: Mapping[str, Any], tensors: Iterable[tuple[str, Tensor, str]]) -> None:
    """Writes a file as a whole; `tensors` are names, weights and formats, of which one at a time is converted.

    Numbers become uint32 and fp32, lists and arrays become arrays of their type.
    """
    held = [(name, tensor, FORMATS[kind]) for name, tensor, kind in tensors]
    head = [MAGIC, struct.pack("<IQQ", VERSION, len(held), len(values))]
    head += [_text(key) + _value(key, value) for key, value in values.items()]
    place = 0
    for name, tensor, kind in held:
        shape = tuple(tensor.shape) or (1,)
        head.append(_text(name) + struct.pack(f"<I{len(shape)}Q", len(shape), *shape[::-1]))
        head.append(struct.pack("<IQ", kind.number, place))
        place += _aligned(kind.bytes_of(tensor.numel()))
    data = b"".join(head)
    with atomic_file(path) as file:
        file.write(data.ljust(_aligned(len(data)), b"\0"))
        for _, tensor, kind in held:
            stored = to_bytes(tensor, kind)
            file.write(stored.ljust(_aligned(len(stored)), b"\0"))


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


def _text(text: str) -> bytes:
    raw = text.encode()
    return struct.pack("<Q", len(raw)) + raw


def _value(key: str, value: Any) -> bytes:
    """A value with its type before it."""
    if isinstance(value, str):
        return struct.pack("<I", STRING) + _text(value)
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return struct.pack("<IIQ", ARRAY, STRING, len(value)) + b"".join(map(_text, value))
    if isinstance(value, np.ndarray):
        return struct.pack("<IIQ", ARRAY, NUMBERS[value.dtype], len(value)) + value.tobytes()
    if isinstance(value, bool):
        return struct.pack("<I?", BOOL, value)
    if isinstance(value, float):
        return struct.pack("<If", 6, value)
    if isinstance(value, int) and 0 <= value < 1 << 32:
        return struct.pack("<II", 4, value)
    raise CheckpointError(f"{key} = {value!r} cannot be written in GGUF")
