"""y = x Wᵀ for a few rows of x, at the speed at which memory delivers W.

Decoding one token reads every weight once and does two operations with it: the time is the bytes over the memory's
bandwidth. So each thread streams whole rows of W (`rows`), four at a time; four rows of x share one pass and all that
is loaded in it (`tile`). Weights in bf16 are widened in registers; weights of 8 and 4 bits meet whole numbers
(`whole`), eight lanes at a time (`lanes`). Plain PyTorch forms: `torch.nn.functional.linear`, `nextword.quant.linear`.
"""

import numba
import numpy as np
from numba import types
from numba.core.extending import overload

from nextword.nn.kernels.bits import HALF, ONLY_PRANGE, SINGLE, held, vector
from nextword.nn.kernels.lanes import BYTES_AT_ONCE, LANES
from nextword.nn.kernels.rows import (
    CORRECTIONS,
    FAST,
    LEAST,
    SHARED,
    TALL,
    four_bf16,
    four_fp32,
    four_int4,
    four_int8,
    one_bf16,
    one_fp32,
    one_int4,
    one_int8,
    single_bf16,
    single_fp32,
    single_int4,
    single_int8,
    two_bf16,
    two_fp32,
    two_int4,
    two_int8,
)
from nextword.nn.kernels.whole import GROUP, group_corrections, lane_corrections, whole_numbers

BF16, FP32, INT8, INT4 = types.uint16, types.float32, types.int8, types.uint8  # what a `kind` holds


@numba.njit(**FAST)
def apart(x_ND):
    """Rows in which the even ones of 16 numbers stand before the odd ones; the last few, fewer than 16, as they are."""
    count, width = x_ND.shape
    out_ND = np.empty((count, width), np.float32)
    for n in range(count):
        for k in range(0, width - 15, 16):
            for one in range(LANES):
                out_ND[n, k + one] = x_ND[n, k + 2 * one]
                out_ND[n, k + LANES + one] = x_ND[n, k + 2 * one + 1]
        for k in range(width - width % 16, width):
            out_ND[n, k] = x_ND[n, k]
    return out_ND


def prepared(x_ND, kind, shift):
    """The rows of x as weights of that kind want to meet them; exists only inside compiled code."""
    raise NotImplementedError


@overload(prepared)
def _prepared(x_ND, kind, shift):
    return {INT8: _prepared_int8, INT4: _prepared_int4, BF16: _prepared_bf16, FP32: _prepared_single}[kind.dtype]


def _prepared_int8(x_ND, kind, shift):
    q_NK, scales_NG = whole_numbers(x_ND, padded(x_ND.shape[1], kind))
    return q_NK, lane_corrections(q_NK), scales_NG


def _prepared_int4(x_ND, kind, shift):
    q_NK, scales_NG = whole_numbers(x_ND, padded(x_ND.shape[1], kind))
    corrections_NG, repeated_NG = group_corrections(q_NK, scales_NG, min(1 << shift, GROUP))
    return q_NK, corrections_NG, repeated_NG


def _prepared_bf16(x_ND, kind, shift):
    return (apart(x_ND),)


def _prepared_single(x_ND, kind, shift):
    return (x_ND,)


def addresses(arrays):
    """Of the arrays in a tuple; exists only inside compiled code."""
    raise NotImplementedError


@overload(addresses)
def _addresses(arrays):
    if len(arrays) == 1:
        return lambda arrays: (types.int64(arrays[0].ctypes.data),)
    return lambda arrays: (
        types.int64(arrays[0].ctypes.data),
        types.int64(arrays[1].ctypes.data),
        types.int64(arrays[2].ctypes.data),
    )


def padded(width, kind):
    """Weights that a row is stored as; exists only inside compiled code."""
    raise NotImplementedError


@overload(padded)
def _padded(width, kind):
    block = {INT8: BYTES_AT_ONCE, INT4: GROUP}.get(kind.dtype, 1)
    return lambda width, kind: (width + block - 1) // block * block


def row_bytes(width, kind):
    """Bytes of a row of weights; exists only inside compiled code."""
    raise NotImplementedError


@overload(row_bytes)
def _row_bytes(width, kind):
    if kind.dtype == INT4:
        return lambda width, kind: padded(width, kind) // 2
    return lambda width, kind: padded(width, kind) * kind.itemsize


def scale_bytes(width, kind, shift):
    """Bytes of the scales of a row of `width` stored weights; exists only inside compiled code."""
    raise NotImplementedError


@overload(scale_bytes)
def _scale_bytes(width, kind, shift):
    if kind.dtype == INT4:
        return lambda width, kind, shift: ((width + (1 << shift) - 1) >> shift) * HALF.itemsize
    return lambda width, kind, shift: SINGLE.itemsize


def rows_times(place, scales, many, apart, width, x, count, y, kind, shift):
    """`many` rows of a matrix, each `apart` rows after the one before, times `count` rows of x; only in compiled code.

    place, scales, y: the addresses of the first row's weights, its scales, and its products, of which those of each row
    of the matrix follow those of the row before. width: weights of a row. x: the addresses of what `prepared` gave.
    Nothing but addresses, because an array that is handed on is counted, and threads that count the same array wait for
    each other at every row.
    """
    raise NotImplementedError


@overload(rows_times)
def _rows_times(place, scales, many, apart, width, x, count, y, kind, shift):
    return {INT8: _times_int8, INT4: _times_int4, BF16: _times_bf16, FP32: _times_single}[kind.dtype]


def _times_floats(four, two, one, single, stored):
    """With tiles of one format, whose numbers are of `stored` bytes."""

    def times(place, scales, many, apart, width, x, count, y, kind, shift):
        size, row, step, n = width * 4, apart * width * stored, apart * count, 0
        if many < SHARED:
            for r in range(many):
                for n in range(count):
                    single(place + r * row, row, x[0] + n * size, width, y + (r * step + n) * 4, step)
            return
        while n + 4 <= count:
            for r in range(0, SHARED, TALL):
                four(place + r * row, row, x[0] + n * size, width, y + (r * step + n) * 4, step)
            n += 4
        if n + 2 <= count:
            two(place, row, x[0] + n * size, width, y + n * 4, step)
            n += 2
        if n < count:
            one(place, row, x[0] + n * size, width, y + n * 4, step)

    return times


_times_bf16 = _times_floats(four_bf16, two_bf16, one_bf16, single_bf16, HALF.itemsize)
_times_single = _times_floats(four_fp32, two_fp32, one_fp32, single_fp32, SINGLE.itemsize)


def _times_int8(place, scales, many, apart, width, x, count, y, kind, shift):
    groups, row, step, n = (width + GROUP - 1) // GROUP, apart * width, apart * count, 0
    size, line, far, own = groups * GROUP, groups * CORRECTIONS, groups * 4, apart * scale_bytes(width, kind, shift)
    if many < SHARED:
        for r in range(many):
            for n in range(count):
                numbers = (x[0] + n * size, x[1] + n * line, x[2] + n * far)
                single_int8((place + r * row, row, scales + r * own, own), width, numbers, y + (r * step + n) * 4, step)
        return
    while n + 4 <= count:
        for r in range(0, SHARED, TALL):
            numbers, to = (x[0] + n * size, x[1] + n * line, x[2] + n * far), y + (r * step + n) * 4
            four_int8((place + r * row, row, scales + r * own, own), width, numbers, to, step)
        n += 4
    if n + 2 <= count:
        numbers = (x[0] + n * size, x[1] + n * line, x[2] + n * far)
        two_int8((place, row, scales, own), width, numbers, y + n * 4, step)
        n += 2
    if n < count:
        numbers = (x[0] + n * size, x[1] + n * line, x[2] + n * far)
        one_int8((place, row, scales, own), width, numbers, y + n * 4, step)


def _times_int4(place, scales, many, apart, width, x, count, y, kind, shift):
    groups, row, step, n = width // GROUP, apart * (width // 2), apart * count, 0
    line = ((width >> min(shift, LEAST + 1)) + LANES) * 4  # bytes of corrections, and of numbers' scales
    own = apart * scale_bytes(width, kind, shift)
    if many < SHARED:
        for r in range(many):
            for n in range(count):
                numbers, to = (x[0] + n * width, x[1] + n * line, x[2] + n * line), y + (r * step + n) * 4
                single_int4((place + r * row, row, scales + r * own, own), groups, numbers, to, step, shift)
        return
    while n + 4 <= count:
        for r in range(0, SHARED, TALL):
            numbers, to = (x[0] + n * width, x[1] + n * line, x[2] + n * line), y + (r * step + n) * 4
            four_int4((place + r * row, row, scales + r * own, own), groups, numbers, to, step, shift)
        n += 4
    if n + 2 <= count:
        numbers = (x[0] + n * width, x[1] + n * line, x[2] + n * line)
        two_int4((place, row, scales, own), groups, numbers, y + n * 4, step, shift)
        n += 2
    if n < count:
        numbers = (x[0] + n * width, x[1] + n * line, x[2] + n * line)
        one_int4((place, row, scales, own), groups, numbers, y + n * 4, step, shift)


@numba.njit(parallel=ONLY_PRANGE, fastmath=True, nogil=True, error_model="numpy")
def product(places, rows, x_ND, kind, shift):
    """The products of x_ND with the matrices of rows[i] rows at places[i], one below the other: (sum of rows, N).

    places: the addresses of each matrix, its scales, and its bias in float32 (0: none). Several matrices in one call
    (queries, keys and values; gate and up) cost one start of the threads. shift: of weights of 4 bits, 2^shift of which
    share a scale.
    """
    x = prepared(x_ND, kind, shift)
    count, width = x_ND.shape[0], padded(x_ND.shape[1], kind)  # weights of a row as they are stored
    y_RN = np.empty((rows.sum(), count), np.float32)
    x_places, y_place = addresses(x), y_RN.ctypes.data
    blocks = 0
    for i in range(rows.shape[0]):
        blocks += (rows[i] + SHARED - 1) // SHARED
    for block in numba.prange(blocks):
        matrix, before, above = 0, 0, 0  # blocks and rows of the matrices above
        while block - before >= (rows[matrix] + SHARED - 1) // SHARED:
            before += (rows[matrix] + SHARED - 1) // SHARED
            above += rows[matrix]
            matrix += 1
        # four rows far apart: each goes on in the next block where it ended, which is how processors read ahead
        row, many, apart = block - before, SHARED, rows[matrix] // SHARED
        if row == apart:
            row, many, apart = apart * SHARED, rows[matrix] % SHARED, 1
        y = y_place + (above + row) * count * 4
        place = places[matrix, 0] + row * row_bytes(x_ND.shape[1], kind)
        scales = places[matrix, 1] + row * scale_bytes(width, kind, shift)
        rows_times(place, scales, many, apart, width, x_places, count, y, kind, shift)
        if places[matrix, 2]:
            for r in range(many):
                bias = vector(places[matrix, 2] + (row + r * apart) * 4, 1, SINGLE)[0]
                y_N = vector(y + r * apart * count * 4, count, SINGLE)
                for n in range(count):
                    y_N[n] += bias
    held(x)  # until here
    return y_RN
