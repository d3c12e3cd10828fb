"""y = x Wᵀ for a few rows of x, at the speed at which memory delivers W.

Decoding one token reads every weight once and does two operations with it: the time is the bytes over the memory's
bandwidth. So each thread streams whole rows of W, and four rows of x share one pass. Weights in bf16 are widened in
registers; weights of 8 and 4 bits meet whole numbers (`whole`), eight lanes at a time (`lanes`). Several sums run side
by side, because one sum alone would wait for its own last addition. Plain PyTorch forms:
`torch.nn.functional.linear`, `nextword.quant.linear`.
"""

import numba
import numpy as np
from numba import types
from numba.core.extending import overload

from nextword.nn.kernels.bits import HALF, ONLY_PRANGE, SINGLE, vector, widen
from nextword.nn.kernels.lanes import (
    BYTES_AT_ONCE,
    LANES,
    SCALES,
    both,
    nothing,
    plus_even_bf16,
    plus_half_int8,
    plus_high_int4,
    plus_int4,
    plus_int8,
    plus_low_int4,
    plus_odd_bf16,
    room,
    total,
)
from nextword.nn.kernels.whole import GROUP, OFFSET_INT4, OFFSET_INT8, whole_numbers

SHARED = 4  # rows of x that use one loaded row of W together: their sums stay in registers
SIDE = 4  # sums side by side
CORRECTIONS = 4 * LANES  # bytes of the corrections of one group
LEAST = 5  # the shift of the smallest groups of weights of 4 bits: 32, half of a group of numbers
BF16, FP32, INT8, INT4 = types.uint16, types.float32, types.int8, types.uint8  # what a `kind` holds
FAST = {"fastmath": True, "nogil": True, "error_model": "numpy"}


@numba.njit(**FAST, inline="never")
def dot(w_D, x_D):
    """w · x with w bf16 bits or float32."""
    sum_ = np.float32(0)
    for d in range(x_D.shape[0]):
        sum_ += widen(w_D[d]) * x_D[d]
    return sum_


@numba.njit(**FAST, inline="never")
def dot_bf16(w, x, width):
    """The dot product of a row in bf16 with one of float32 in the order of `apart`, by their addresses."""
    a, b, c, d = nothing(), nothing(), nothing(), nothing()
    k = 0
    while k + 32 <= width:
        a = plus_even_bf16(a, w + k * 2, x + k * 4)
        b = plus_odd_bf16(b, w + k * 2, x + k * 4 + 32)
        c = plus_even_bf16(c, w + k * 2 + 32, x + k * 4 + 64)
        d = plus_odd_bf16(d, w + k * 2 + 32, x + k * 4 + 96)
        k += 32
    if k + 16 <= width:
        a = plus_even_bf16(a, w + k * 2, x + k * 4)
        b = plus_odd_bf16(b, w + k * 2, x + k * 4 + 32)
        k += 16
    rest = dot(vector(w + k * 2, width - k, HALF), vector(x + k * 4, width - k, SINGLE))
    return total(both(both(a, b), both(c, d))) + rest


@numba.njit(**FAST, inline="never")
def dots_bf16(w, x, width, y_N, start):
    """Four of them with rows of x that follow each other, written to y_N[start : start + 4]."""
    a, b, c, d = nothing(), nothing(), nothing(), nothing()
    row = width * 4
    k = 0
    while k + 16 <= width:
        p, q = w + k * 2, x + k * 4
        a = plus_odd_bf16(plus_even_bf16(a, p, q), p, q + 32)
        b = plus_odd_bf16(plus_even_bf16(b, p, q + row), p, q + row + 32)
        c = plus_odd_bf16(plus_even_bf16(c, p, q + 2 * row), p, q + 2 * row + 32)
        d = plus_odd_bf16(plus_even_bf16(d, p, q + 3 * row), p, q + 3 * row + 32)
        k += 16
    rest_D, left, x = vector(w + k * 2, width - k, HALF), width - k, x + k * 4
    y_N[start] = total(a) + dot(rest_D, vector(x, left, SINGLE))
    y_N[start + 1] = total(b) + dot(rest_D, vector(x + row, left, SINGLE))
    y_N[start + 2] = total(c) + dot(rest_D, vector(x + 2 * row, left, SINGLE))
    y_N[start + 3] = total(d) + dot(rest_D, vector(x + 3 * row, left, SINGLE))


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


@numba.njit(**FAST, inline="never")
def dot_single(w, x, width):
    """The dot product of two rows of float32, by their addresses."""
    return dot(vector(w, width, SINGLE), vector(x, width, SINGLE))


@numba.njit(**FAST, inline="never")
def dots_single(w, x, width, y_N, start):
    """Four of them with rows of x that follow each other, written to y_N[start : start + 4]."""
    a, b, c, d = np.float32(0), np.float32(0), np.float32(0), np.float32(0)
    w_D, x_4D = vector(w, width, SINGLE), vector(x, 4 * width, SINGLE).reshape((4, width))
    for k in range(width):
        a += w_D[k] * x_4D[0, k]
        b += w_D[k] * x_4D[1, k]
        c += w_D[k] * x_4D[2, k]
        d += w_D[k] * x_4D[3, k]
    y_N[start] = a
    y_N[start + 1] = b
    y_N[start + 2] = c
    y_N[start + 3] = d


@numba.njit(**FAST, inline="never")
def dot_int8(w, width, q, corrections, s_G):
    """The dot product of a row of 8 bits with whole numbers, without the row's scale."""
    a, b, c, d = nothing(), nothing(), nothing(), nothing()
    g, groups = 0, width // GROUP
    while g + SIDE <= groups:
        k, o = g * GROUP, corrections + g * CORRECTIONS
        a = plus_int8(a, w + k, q + k, o, s_G[g])
        b = plus_int8(b, w + k + GROUP, q + k + GROUP, o + CORRECTIONS, s_G[g + 1])
        c = plus_int8(c, w + k + 2 * GROUP, q + k + 2 * GROUP, o + 2 * CORRECTIONS, s_G[g + 2])
        d = plus_int8(d, w + k + 3 * GROUP, q + k + 3 * GROUP, o + 3 * CORRECTIONS, s_G[g + 3])
        g += SIDE
    while g < groups:
        a = plus_int8(a, w + g * GROUP, q + g * GROUP, corrections + g * CORRECTIONS, s_G[g])
        g += 1
    if width % GROUP:
        a = plus_half_int8(a, w + g * GROUP, q + g * GROUP, corrections + g * CORRECTIONS, s_G[g])
    return total(both(both(a, b), both(c, d)))


@numba.njit(**FAST, inline="never")
def dots_int8(w, width, q, corrections, s_NG, start, y_N, scale):
    """Four of them with the row's scale; q and corrections are those of row `start`."""
    a, b, c, d = nothing(), nothing(), nothing(), nothing()
    row, line = s_NG.shape[1] * GROUP, s_NG.shape[1] * CORRECTIONS
    groups = width // GROUP
    for g in range(groups):
        p, k, o = w + g * GROUP, q + g * GROUP, corrections + g * CORRECTIONS
        a = plus_int8(a, p, k, o, s_NG[start, g])
        b = plus_int8(b, p, k + row, o + line, s_NG[start + 1, g])
        c = plus_int8(c, p, k + 2 * row, o + 2 * line, s_NG[start + 2, g])
        d = plus_int8(d, p, k + 3 * row, o + 3 * line, s_NG[start + 3, g])
    if width % GROUP:
        p, k, o = w + groups * GROUP, q + groups * GROUP, corrections + groups * CORRECTIONS
        a = plus_half_int8(a, p, k, o, s_NG[start, groups])
        b = plus_half_int8(b, p, k + row, o + line, s_NG[start + 1, groups])
        c = plus_half_int8(c, p, k + 2 * row, o + 2 * line, s_NG[start + 2, groups])
        d = plus_half_int8(d, p, k + 3 * row, o + 3 * line, s_NG[start + 3, groups])
    y_N[start] = total(a) * scale
    y_N[start + 1] = total(b) * scale
    y_N[start + 2] = total(c) * scale
    y_N[start + 3] = total(d) * scale


@numba.njit(**FAST, inline="never")
def scales_of(scales, s_G, first, count, shift, place):
    """Writes the scales of `count` groups of 64 products from group `first` on to an address: of weights times numbers.

    Where the weights' groups are halves of these (shift 5), two each.
    """
    if shift == LEAST:
        out_C = vector(place, 2 * count, SINGLE)
        for g in range(2 * count):
            out_C[g] = widen(scales[2 * first + g]) * s_G[first + (g >> 1)]
        return
    out_C = vector(place, count, SINGLE)
    if shift == LEAST + 1:
        for g in range(count):
            out_C[g] = widen(scales[first + g]) * s_G[first + g]
    else:
        for g in range(count):
            out_C[g] = widen(scales[(first + g) >> (shift - LEAST - 1)]) * s_G[first + g]


@numba.njit(**FAST, inline="never")
def dot_int4(w, scales, q, corrections, s_G, shift):
    """The dot product of a row of 4 bits with whole numbers. scales: of its groups of 2^shift weights."""
    a, b, place = nothing(), nothing(), room()
    s_C, groups = vector(place, SCALES, SINGLE), s_G.shape[0]
    most = SCALES // 2 if shift == LEAST else SCALES
    for first in range(0, groups, most):
        count = min(most, groups - first)
        scales_of(scales, s_G, first, count, shift, place)
        p, k, o = w + first * BYTES_AT_ONCE, q + first * GROUP, corrections + first * CORRECTIONS
        if shift == LEAST:
            o += first * CORRECTIONS
            for g in range(count):
                a = plus_low_int4(a, p, k, o, s_C[2 * g])
                b = plus_high_int4(b, p, k + BYTES_AT_ONCE, o + CORRECTIONS, s_C[2 * g + 1])
                p, k, o = p + BYTES_AT_ONCE, k + GROUP, o + 2 * CORRECTIONS
            continue
        g = 0
        while g + 2 <= count:
            a = plus_int4(a, p, k, o, s_C[g])
            b = plus_int4(b, p + BYTES_AT_ONCE, k + GROUP, o + CORRECTIONS, s_C[g + 1])
            p, k, o, g = p + 2 * BYTES_AT_ONCE, k + 2 * GROUP, o + 2 * CORRECTIONS, g + 2
        if g < count:
            a = plus_int4(a, p, k, o, s_C[g])
    return total(both(a, b))


@numba.njit(**FAST, inline="never")
def dots_int4(w, scales, q, corrections, s_NG, start, y_N, shift):
    """Four of them, where the weights' groups are of 64 or more; q and corrections are those of row `start`."""
    a, b, c, d, place = nothing(), nothing(), nothing(), nothing(), room()
    groups, most = s_NG.shape[1], SCALES // SHARED
    row, line = groups * GROUP, groups * CORRECTIONS
    s_C = vector(place, SCALES, SINGLE)
    for first in range(0, groups, most):
        count = min(most, groups - first)
        for n in range(SHARED):
            scales_of(scales, s_NG[start + n], first, count, shift, place + n * most * 4)
        for g in range(count):
            p, k = w + (first + g) * BYTES_AT_ONCE, q + (first + g) * GROUP
            o = corrections + (first + g) * CORRECTIONS
            a = plus_int4(a, p, k, o, s_C[g])
            b = plus_int4(b, p, k + row, o + line, s_C[most + g])
            c = plus_int4(c, p, k + 2 * row, o + 2 * line, s_C[2 * most + g])
            d = plus_int4(d, p, k + 3 * row, o + 3 * line, s_C[3 * most + g])
    y_N[start] = total(a)
    y_N[start + 1] = total(b)
    y_N[start + 2] = total(c)
    y_N[start + 3] = total(d)


def prepared(x_ND, kind, shift):
    """The rows of x as weights of that kind want to meet them; exists only inside compiled code."""
    raise NotImplementedError


@overload(prepared)
def _prepared(x_ND, kind, shift):
    if kind.dtype == INT8:
        return lambda x_ND, kind, shift: whole_numbers(x_ND, padded(x_ND.shape[1], kind), OFFSET_INT8, GROUP)
    if kind.dtype == INT4:
        return lambda x_ND, kind, shift: whole_numbers(
            x_ND, padded(x_ND.shape[1], kind), OFFSET_INT4, min(1 << shift, GROUP)
        )
    if kind.dtype == BF16:
        return lambda x_ND, kind, shift: apart(x_ND)
    return lambda x_ND, kind, shift: x_ND


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


def row_times(place, scales, row, width, x, y_N, kind, shift):
    """Row number `row` of a matrix, `width` weights, times all rows of `x` (as `prepared`); only in compiled code."""
    raise NotImplementedError


@overload(row_times)
def _row_times(place, scales, row, width, x, y_N, kind, shift):
    return {INT8: _times_int8, INT4: _times_int4, BF16: _times_bf16, FP32: _times_single}[kind.dtype]


def _times_bf16(place, scales, row, width, x, y_N, kind, shift):
    count = x.shape[0]
    w, first = place + row * width * 2, x.ctypes.data
    whole = count - count % SHARED
    for start in range(0, whole, SHARED):
        dots_bf16(w, first + start * width * 4, width, y_N, start)
    for n in range(whole, count):
        y_N[n] = dot_bf16(w, first + n * width * 4, width)


def _times_single(place, scales, row, width, x, y_N, kind, shift):
    count = x.shape[0]
    w, first = place + row * width * 4, x.ctypes.data
    whole = count - count % SHARED
    for start in range(0, whole, SHARED):
        dots_single(w, first + start * width * 4, width, y_N, start)
    for n in range(whole, count):
        y_N[n] = dot_single(w, first + n * width * 4, width)


def _times_int8(place, scales, row, width, x, y_N, kind, shift):
    q_NK, corrections_NCL, s_NG = x
    count, stored, line = q_NK.shape[0], q_NK.shape[1], corrections_NCL.shape[1] * CORRECTIONS
    w, q, c = place + row * width, q_NK.ctypes.data, corrections_NCL.ctypes.data
    scale = vector(scales + row * 4, 1, SINGLE)[0]
    whole = count - count % SHARED
    for start in range(0, whole, SHARED):
        dots_int8(w, width, q + start * stored, c + start * line, s_NG, start, y_N, scale)
    for n in range(whole, count):
        y_N[n] = dot_int8(w, width, q + n * stored, c + n * line, s_NG[n]) * scale


def _times_int4(place, scales, row, width, x, y_N, kind, shift):
    q_NK, corrections_NCL, s_NG = x
    count, stored, line = q_NK.shape[0], q_NK.shape[1], corrections_NCL.shape[1] * CORRECTIONS
    w, q, c = place + row * (stored // 2), q_NK.ctypes.data, corrections_NCL.ctypes.data
    groups = (stored + (1 << shift) - 1) >> shift
    scales_G = vector(scales + row * groups * 2, groups, HALF)
    whole = 0 if shift == LEAST else count - count % SHARED
    for start in range(0, whole, SHARED):
        dots_int4(w, scales_G, q + start * stored, c + start * line, s_NG, start, y_N, shift)
    for n in range(whole, count):
        y_N[n] = dot_int4(w, scales_G, q + n * stored, c + n * line, s_NG[n], shift)


@numba.njit(nogil=True, error_model="numpy", inline="never")
def matrix_of(rows, row):
    """Which of the matrices row number `row`, counted through all of them, belongs to; and its number there."""
    matrix = 0
    while row >= rows[matrix]:
        row -= rows[matrix]
        matrix += 1
    return matrix, row


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
    for r in numba.prange(y_RN.shape[0]):
        matrix, row = matrix_of(rows, r)
        row_times(places[matrix, 0], places[matrix, 1], row, width, x, y_RN[r], kind, shift)
        if places[matrix, 2]:
            bias = vector(places[matrix, 2] + row * 4, 1, SINGLE)[0]
            for n in range(count):
                y_RN[r, n] += bias
    return y_RN
