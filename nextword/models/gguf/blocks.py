"""The number formats of GGUF: blocks of weights that share a scale, as llama.cpp defines them (`ggml-common.h`).

A block of 32 weights is stored as w = d·q ("_0") or w = d·q + m ("_1"), with an fp16 scale d (and minimum m) and a
4-, 5- or 8-bit q. The "K" formats gather eight sub-blocks of 32 (sixteen of 16 for Q6_K) under one d: their scales are
small integers themselves, w = d·s·q - d_min·m. All functions work on many blocks at once and compute in fp32, in the
order in which llama.cpp does, so that the numbers are the same bit by bit.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nextword.core.errors import CheckpointError

Bytes = NDArray[np.uint8]  # (N, size): one block a row
Floats = NDArray[np.float32]  # (N, block)

AT_ONCE = 1 << 14  # so many blocks are computed together: their intermediate arrays stay small
NIBBLES = np.array([0, 4], np.uint8)


@dataclass(frozen=True)
class Format:
    """A way to store weights. number: its id in files. block: weights that are stored together, in `size` bytes."""

    name: str
    number: int
    block: int
    size: int
    read: Callable[[Bytes], Floats] | None = None
    write: Callable[[Floats], Bytes] | None = None

    def bytes_of(self, weights: int) -> int:
        """The bytes that so many weights take (a multiple of `block`)."""
        return weights // self.block * self.size


def half(column: Bytes) -> Floats:
    """Two bytes a block as the fp16 number that they are, (N, 1) in fp32."""
    return np.ascontiguousarray(column).view(np.float16).astype(np.float32)


def nibbles(packed: Bytes) -> Bytes:
    """The low halves of 16 bytes, then their high halves: (N, 16) -> (N, 32)."""
    return ((packed[:, None, :] >> NIBBLES[:, None]) & 15).reshape(len(packed), -1)


def fifth_bits(packed: Bytes) -> Bytes:
    """Bit 4 of 32 numbers out of 4 bytes: (N, 4) -> (N, 32), each 0 or 16."""
    return np.unpackbits(packed, axis=1, bitorder="little") << np.uint8(4)


def read_q4_0(x: Bytes) -> Floats:
    """W = d·(q - 8)."""
    return half(x[:, :2]) * (nibbles(x[:, 2:]).astype(np.int8) - np.int8(8)).astype(np.float32)


def read_q4_1(x: Bytes) -> Floats:
    """W = d·q + m."""
    return half(x[:, :2]) * nibbles(x[:, 4:]).astype(np.float32) + half(x[:, 2:4])


def read_q5_0(x: Bytes) -> Floats:
    """W = d·(q - 16), with the fifth bits apart."""
    q = (nibbles(x[:, 6:]) | fifth_bits(x[:, 2:6])).astype(np.int8) - np.int8(16)
    return half(x[:, :2]) * q.astype(np.float32)


def read_q5_1(x: Bytes) -> Floats:
    """W = d·q + m, with the fifth bits apart."""
    q = nibbles(x[:, 8:]) | fifth_bits(x[:, 4:8])
    return half(x[:, :2]) * q.astype(np.float32) + half(x[:, 2:4])


def read_q8_0(x: Bytes) -> Floats:
    """W = d·q."""
    return half(x[:, :2]) * x[:, 2:].view(np.int8).astype(np.float32)


def scales_and_minima(packed: Bytes) -> tuple[Floats, Floats]:
    """Eight scales and eight minima of 6 bits out of 12 bytes: two arrays (N, 8).

    Bytes 0-3 and 4-7 hold the first four of each in their low six bits; bytes 8-11 hold the low halves of the last
    four, whose upper two bits are those left over in the first eight bytes.
    """
    first, second, third = packed[:, :4], packed[:, 4:8], packed[:, 8:]
    scales = np.concatenate([first & 63, (third & 15) | ((first >> 2) & 48)], axis=1)
    minima = np.concatenate([second & 63, (third >> 4) | ((second >> 2) & 48)], axis=1)
    return scales.astype(np.float32), minima.astype(np.float32)


def read_q4_k(x: Bytes) -> Floats:
    """W = d·s·q - d_min·m, eight sub-blocks of 32."""
    return _scaled(x, nibbles_k(x[:, 16:]))


def read_q5_k(x: Bytes) -> Floats:
    """The same with the fifth bits apart: bit j of 32 bytes belongs to sub-block j."""
    high = ((x[:, None, 16:48] >> np.arange(8, dtype=np.uint8)[:, None]) & 1) << np.uint8(4)
    return _scaled(x, nibbles_k(x[:, 48:]) | high)


def nibbles_k(packed: Bytes) -> Bytes:
    """Eight sub-blocks out of 128 bytes, of which each 32 hold two: (N, 128) -> (N, 8, 32)."""
    return ((packed.reshape(-1, 4, 1, 32) >> NIBBLES[:, None]) & 15).reshape(-1, 8, 32)


def _scaled(x: Bytes, q: Bytes) -> Floats:
    scales, minima = scales_and_minima(x[:, 4:16])
    d, low = half(x[:, :2]) * scales, half(x[:, 2:4]) * minima
    return (d[:, :, None] * q.astype(np.float32) - low[:, :, None]).reshape(len(x), 256)


def read_q6_k(x: Bytes) -> Floats:
    """W = d·s·(q - 32), sixteen sub-blocks of 16 with signed scales; the upper two bits of q apart."""
    low = ((x[:, :128].reshape(-1, 2, 1, 64) >> NIBBLES[:, None]) & 15).reshape(-1, 8, 32)
    shifts = np.array([0, 2, 4, 6], np.uint8)[:, None]
    high = ((x[:, 128:192].reshape(-1, 2, 1, 32) >> shifts) & 3).reshape(-1, 8, 32)
    q = (low | (high << np.uint8(4))).astype(np.int8) - np.int8(32)
    d = half(x[:, 208:]) * np.ascontiguousarray(x[:, 192:208]).view(np.int8).astype(np.float32)
    return (d[:, :, None] * q.reshape(-1, 16, 16).astype(np.float32)).reshape(len(x), 256)


def inverse(d: Floats) -> Floats:
    """1/d, and 0 where d is 0."""
    with np.errstate(divide="ignore"):
        return np.where(d == 0, np.float32(0), np.float32(1) / d)


def write_q8_0(x: Floats) -> Bytes:
    """D = max|w| / 127, q = w/d rounded, halves away from zero."""
    d = np.abs(x).max(axis=1, keepdims=True) / np.float32(127)
    scaled = x * inverse(d)
    whole = np.floor(np.abs(scaled))
    q = np.sign(scaled) * (whole + np.floor(2 * (np.abs(scaled) - whole)))
    return np.concatenate([to_half(d), q.astype(np.int8).view(np.uint8)], axis=1)


def write_q4_0(x: Floats) -> Bytes:
    """D = w_max / -8 for the w of largest magnitude with its sign, which so becomes q = 0 exactly."""
    largest = np.take_along_axis(x, np.abs(x).argmax(axis=1, keepdims=True), axis=1)
    d = largest / np.float32(-8)
    q = np.trunc(x * inverse(d) + np.float32(8.5)).astype(np.uint8).clip(0, 15)
    return np.concatenate([to_half(d), q[:, :16] | (q[:, 16:] << np.uint8(4))], axis=1)


def to_half(d: Floats) -> Bytes:
    """Scales as fp16; CheckpointError where one is too large for it."""
    with np.errstate(over="ignore"):
        found = d.astype(np.float16)
    if not np.isfinite(found).all():
        raise CheckpointError("weights beyond the range of fp16 cannot be written in this type; choose f32 or bf16")
    return found.view(np.uint8)


_ALL = (
    Format("f32", 0, 1, 4),
    Format("f16", 1, 1, 2),
    Format("bf16", 30, 1, 2),
    Format("q4_0", 2, 32, 18, read_q4_0, write_q4_0),
    Format("q4_1", 3, 32, 20, read_q4_1),
    Format("q5_0", 6, 32, 22, read_q5_0),
    Format("q5_1", 7, 32, 24, read_q5_1),
    Format("q8_0", 8, 32, 34, read_q8_0, write_q8_0),
    Format("q4_k", 12, 256, 144, read_q4_k),
    Format("q5_k", 13, 256, 176, read_q5_k),
    Format("q6_k", 14, 256, 210, read_q6_k),
)
FORMATS = {one.name: one for one in _ALL}
BY_NUMBER = {one.number: one for one in _ALL}
PLAIN = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}


def to_tensor(data: memoryview | bytes, kind: Format, shape: tuple[int, ...]) -> Tensor:
    """The weights in `data`: plain types as they are, blocks in fp32."""
    if kind.read is None:
        return torch.frombuffer(bytearray(data), dtype=PLAIN[kind.name]).reshape(shape)
    blocks = np.frombuffer(data, np.uint8).reshape(-1, kind.size)
    found = np.empty((len(blocks), kind.block), np.float32)
    with np.errstate(invalid="ignore"):  # a scale that is infinite or NaN is found by whoever checks the weights
        for start in range(0, len(blocks), AT_ONCE):
            found[start : start + AT_ONCE] = kind.read(blocks[start : start + AT_ONCE])
    return torch.from_numpy(found.reshape(shape))


def to_bytes(tensor: Tensor, kind: Format) -> bytes:
    """The weights stored so; the last dimension must be a multiple of the format's block."""
    if kind.name in PLAIN:
        found = tensor.to(PLAIN[kind.name]).contiguous()
        if torch.isfinite(tensor).all() and not torch.isfinite(found).all():
            raise CheckpointError(f"weights beyond the range of {kind.name} cannot be written; choose f32 or bf16")
        return (
            found.view(torch.uint8).numpy().tobytes()
            if found.dim()
            else found.reshape(1).view(torch.uint8).numpy().tobytes()
        )
    if kind.write is None:
        raise CheckpointError(f"nextword reads {kind.name} but does not write it; it writes f32, f16, bf16, q8_0, q4_0")
    rows = tensor.float().contiguous().numpy().reshape(-1, kind.block)
    parts = (kind.write(rows[start : start + AT_ONCE]) for start in range(0, len(rows), AT_ONCE))
    return b"".join(part.tobytes() for part in parts)
