"""Rows of weights times rows of x, one and one, one and four, or four and one, in each format of weights.

Four rows of weights with one of x share the loads of x and the cost of beginning and ending; four of x with one of
weights share the loads of weights. Several sums run side by side, because one alone would wait for its own last
addition.

With weights of 8 and 4 bits all three add in the same order and round alike: what a row of x gives is the same number,
to the last bit, whatever rows are beside it. It has to be, because the next layer rounds it to 8 bits: the least
difference there would take some numbers to the neighbour of what they are else.

Everything is an address: an array that is handed on is counted, and threads that count the same array wait for each
other at every row.
"""

import numba
import numpy as np

from nextword.nn.kernels.bits import HALF, SINGLE, vector, widen
from nextword.nn.kernels.lanes import (
    BYTES_AT_ONCE,
    LANES,
    SCALES,
    alone,
    both,
    fetch,
    nothing,
    plus_even_bf16,
    plus_half_int8,
    plus_high_int4,
    plus_int4,
    plus_int8,
    plus_low_int4,
    plus_odd_bf16,
    plus_scales,
    plus_shared_scales,
    room,
    total,
    totals,
)
from nextword.nn.kernels.whole import GROUP

SHARED = 4  # rows of x that use one loaded row of W together: their sums stay in registers
CORRECTIONS = 4 * LANES  # bytes of the corrections of one group
AHEAD = 512  # bytes further on in a row of 4 bits that memory is asked for; it finds those of 8 by itself
LEAST = 5  # the shift of the smallest groups of weights of 4 bits: 32, half of a group of numbers
FAST = {"fastmath": True, "nogil": True, "error_model": "numpy"}
EXACT = {"nogil": True, "error_model": "numpy"}  # sums stay in the order in which they are written


@numba.njit(**FAST, inline="never")
def dot(w_D, x_D):
    """w · x with w bf16 bits or float32."""
    sum_ = np.float32(0)
    for d in range(x_D.shape[0]):
        sum_ += widen(w_D[d]) * x_D[d]
    return sum_


@numba.njit(**FAST, inline="never")
def write_four(y, step, a, b, c, d):
    """The totals of four sums, to address y and `step` numbers further each."""
    y_Z = vector(y, 3 * step + 1, SINGLE)
    y_Z[0], y_Z[step], y_Z[2 * step], y_Z[3 * step] = totals(a, b, c, d)


@numba.njit(**FAST, inline="never")
def dot_bf16(w, x, width):
    """The dot product of a row in bf16 with one of float32 in the order of `product.apart`, by their addresses."""
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
def dots_bf16(w, x, width, y):
    """Four of them with rows of x that follow each other, written to address y."""
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
    write_four(y, 1, a, b, c, d)
    rest_D, y_4 = vector(w + k * 2, width - k, HALF), vector(y, SHARED, SINGLE)
    for n in range(SHARED):
        y_4[n] += dot(rest_D, vector(x + n * row + k * 4, width - k, SINGLE))


@numba.njit(**FAST, inline="never")
def dot_single(w, x, width):
    """The dot product of two rows of float32, by their addresses."""
    return dot(vector(w, width, SINGLE), vector(x, width, SINGLE))


@numba.njit(**FAST, inline="never")
def dots_single(w, x, width, y):
    """Four of them with rows of x that follow each other, written to address y."""
    a, b, c, d = np.float32(0), np.float32(0), np.float32(0), np.float32(0)
    w_D, x_4D = vector(w, width, SINGLE), vector(x, 4 * width, SINGLE).reshape((4, width))
    for k in range(width):
        a += w_D[k] * x_4D[0, k]
        b += w_D[k] * x_4D[1, k]
        c += w_D[k] * x_4D[2, k]
        d += w_D[k] * x_4D[3, k]
    y_4 = vector(y, SHARED, SINGLE)
    y_4[0], y_4[1], y_4[2], y_4[3] = a, b, c, d


@numba.njit(**EXACT, inline="never")
def dot_int8(w, width, q, corrections, s, scale):
    """The dot product of a row of 8 bits with whole numbers, times the row's scale; all else by their addresses."""
    a, groups = nothing(), width // GROUP
    s_G = vector(s, groups + 1, SINGLE)
    for g in range(groups):
        a = plus_int8(a, w + g * GROUP, q + g * GROUP, corrections + g * CORRECTIONS, s_G[g])
    if width % GROUP:
        p, k, o = w + groups * GROUP, q + groups * GROUP, corrections + groups * CORRECTIONS
        a = plus_half_int8(a, p, k, o, s_G[groups])
    return total(a) * scale


@numba.njit(**EXACT, inline="never")
def dots_int8(w, width, q, corrections, s, scale, y):
    """Four of them, with rows of whole numbers that follow each other; written to address y."""
    a, b, c, d = nothing(), nothing(), nothing(), nothing()
    groups, each = width // GROUP, (width + GROUP - 1) // GROUP
    row, line = each * GROUP, each * CORRECTIONS
    s_4G = vector(s, SHARED * each, SINGLE).reshape((SHARED, each))
    for g in range(groups):
        p, k, o = w + g * GROUP, q + g * GROUP, corrections + g * CORRECTIONS
        a = plus_int8(a, p, k, o, s_4G[0, g])
        b = plus_int8(b, p, k + row, o + line, s_4G[1, g])
        c = plus_int8(c, p, k + 2 * row, o + 2 * line, s_4G[2, g])
        d = plus_int8(d, p, k + 3 * row, o + 3 * line, s_4G[3, g])
    if width % GROUP:
        p, k, o = w + groups * GROUP, q + groups * GROUP, corrections + groups * CORRECTIONS
        a = plus_half_int8(a, p, k, o, s_4G[0, groups])
        b = plus_half_int8(b, p, k + row, o + line, s_4G[1, groups])
        c = plus_half_int8(c, p, k + 2 * row, o + 2 * line, s_4G[2, groups])
        d = plus_half_int8(d, p, k + 3 * row, o + 3 * line, s_4G[3, groups])
    write_four(y, 1, a, b, c, d)
    y_4 = vector(y, SHARED, SINGLE)
    for n in range(SHARED):
        y_4[n] *= scale


@numba.njit(**EXACT, forceinline=True)
def plus_scales_of(before, scales, corrections, s, count, shift, place):
    """before + `count` corrections by the scales of their weights, one for each product that has a scale of its own.

    These scales, of weights times of numbers, are written to an address. All are addresses.
    """
    rest, c = np.float32(0), 0
    if shift <= LEAST + 1:
        while c + LANES <= count:
            before = plus_scales(before, scales + c * 2, s + c * 4, corrections + c * 4, place + c * 4)
            c += LANES
    elif shift == LEAST + 2:
        while c + LANES <= count:
            before = plus_shared_scales(before, scales + c, s + c * 4, corrections + c * 4, place + c * 4)
            c += LANES
    w_G, more = vector(scales, count, HALF), max(shift - LEAST - 1, 0)
    s_C, off_C, out_C = vector(s, count, SINGLE), vector(corrections, count, SINGLE), vector(place, count, SINGLE)
    while c < count:
        scale = widen(w_G[c >> more])
        out_C[c] = scale * s_C[c]
        rest += scale * off_C[c]
        c += 1
    return both(before, alone(rest))


@numba.njit(**EXACT, forceinline=True)
def plus_group_int4(before, w, q, place, shift):
    """before + the product of 64 weights of 4 bits with whole numbers, by the one scale or the two at `place`."""
    if shift == LEAST:
        s_2 = vector(place, 2, SINGLE)
        return plus_high_int4(plus_low_int4(before, w, q, s_2[0]), w, q + BYTES_AT_ONCE, s_2[1])
    return plus_int4(before, w, q, vector(place, 1, SINGLE)[0])


@numba.njit(**EXACT, inline="never")
def dot_int4(w, scales, groups, q, corrections, s, shift):
    """The dot product of a row of 4 bits with whole numbers in `groups`; all by their addresses.

    scales: of the row's groups of 2^shift weights. corrections, s: of groups of 2^shift numbers, 64 at most.
    """
    a, place = nothing(), room()
    halves = 2 if shift == LEAST else 1
    most = SCALES // SHARED // halves
    for first in range(0, groups, most):
        count, skipped = min(most, groups - first), first * halves * 4
        own = scales + ((first * GROUP) >> shift) * 2
        a = plus_scales_of(a, own, corrections + skipped, s + skipped, count * halves, shift, place)
        for g in range(count):
            p, k = w + (first + g) * BYTES_AT_ONCE, q + (first + g) * GROUP
            a = plus_group_int4(a, p, k, place + g * halves * 4, shift)
    return total(a)


@numba.njit(**EXACT, forceinline=True)
def four_int4(weights, groups, numbers, line, y, step, shift):
    """Four products of rows of 4 bits with whole numbers, `line` groups apart; to address y and `step` further each.

    weights: the address of a row, bytes to the next one; the same of its scales. numbers: as `dot_int4` has them.
    """
    (w, row, scales, own), (q, corrections, s) = weights, numbers
    a, b, c, d, place = nothing(), nothing(), nothing(), nothing(), room()
    halves, size = 2 if shift == LEAST else 1, SCALES // SHARED * 4
    most, far, apart = SCALES // SHARED // halves, line * GROUP, line * halves * 4
    for first in range(0, groups, most):
        count, skipped = min(most, groups - first), first * halves * 4
        many, h = count * halves, scales + ((first * GROUP) >> shift) * 2
        o, t = corrections + skipped, s + skipped
        a = plus_scales_of(a, h, o, t, many, shift, place)
        b = plus_scales_of(b, h + own, o + apart, t + apart, many, shift, place + size)
        c = plus_scales_of(c, h + 2 * own, o + 2 * apart, t + 2 * apart, many, shift, place + 2 * size)
        d = plus_scales_of(d, h + 3 * own, o + 3 * apart, t + 3 * apart, many, shift, place + 3 * size)
        for g in range(count):
            p, k, at = w + (first + g) * BYTES_AT_ONCE, q + (first + g) * GROUP, place + g * halves * 4
            if row:
                for r in range(SHARED):
                    fetch(p + r * row + AHEAD)
            a = plus_group_int4(a, p, k, at, shift)
            b = plus_group_int4(b, p + row, k + far, at + size, shift)
            c = plus_group_int4(c, p + 2 * row, k + 2 * far, at + 2 * size, shift)
            d = plus_group_int4(d, p + 3 * row, k + 3 * far, at + 3 * size, shift)
    write_four(y, step, a, b, c, d)


@numba.njit(**EXACT, inline="never")
def dots_int4(w, scales, groups, q, corrections, s, y, shift):
    """Four of them with rows of whole numbers that follow each other, written to address y."""
    four_int4((w, 0, scales, 0), groups, (q, corrections, s), groups, y, 1, shift)


@numba.njit(**FAST, inline="never")
def block_bf16(w, row, x, width, y, step):
    """Four rows of weights, `row` bytes apart, with one of x in the order of `product.apart`; to y, `step` apart."""
    a, b, c, d = nothing(), nothing(), nothing(), nothing()
    k = 0
    while k + 16 <= width:
        p, q = w + k * 2, x + k * 4
        a = plus_odd_bf16(plus_even_bf16(a, p, q), p, q + 32)
        b = plus_odd_bf16(plus_even_bf16(b, p + row, q), p + row, q + 32)
        c = plus_odd_bf16(plus_even_bf16(c, p + 2 * row, q), p + 2 * row, q + 32)
        d = plus_odd_bf16(plus_even_bf16(d, p + 3 * row, q), p + 3 * row, q + 32)
        k += 16
    write_four(y, step, a, b, c, d)
    rest_D, y_Z = vector(x + k * 4, width - k, SINGLE), vector(y, 3 * step + 1, SINGLE)
    for r in range(SHARED):
        y_Z[r * step] += dot(vector(w + r * row + k * 2, width - k, HALF), rest_D)


@numba.njit(**EXACT, inline="never")
def block_int8(weights, width, numbers, y, step):
    """Four rows of 8 bits with one of whole numbers; to address y and `step` numbers further each.

    weights: the address of a row, bytes to the next one; the same of its scale. numbers: as `dot_int8` has them.
    """
    (w, row, scales, own), (q, corrections, s) = weights, numbers
    a, b, c, d = nothing(), nothing(), nothing(), nothing()
    groups = width // GROUP
    s_G = vector(s, groups + 1, SINGLE)
    for g in range(groups):
        p, k, o = w + g * GROUP, q + g * GROUP, corrections + g * CORRECTIONS
        a = plus_int8(a, p, k, o, s_G[g])
        b = plus_int8(b, p + row, k, o, s_G[g])
        c = plus_int8(c, p + 2 * row, k, o, s_G[g])
        d = plus_int8(d, p + 3 * row, k, o, s_G[g])
    if width % GROUP:
        p, k, o = w + groups * GROUP, q + groups * GROUP, corrections + groups * CORRECTIONS
        a = plus_half_int8(a, p, k, o, s_G[groups])
        b = plus_half_int8(b, p + row, k, o, s_G[groups])
        c = plus_half_int8(c, p + 2 * row, k, o, s_G[groups])
        d = plus_half_int8(d, p + 3 * row, k, o, s_G[groups])
    far = own // SINGLE.itemsize
    y_Z, s_Z = vector(y, 3 * step + 1, SINGLE), vector(scales, 3 * far + 1, SINGLE)
    first, second, third, fourth = totals(a, b, c, d)
    y_Z[0], y_Z[step] = first * s_Z[0], second * s_Z[far]
    y_Z[2 * step], y_Z[3 * step] = third * s_Z[2 * far], fourth * s_Z[3 * far]


@numba.njit(**EXACT, inline="never")
def block_int4(weights, groups, numbers, y, step, shift):
    """Four rows of 4 bits with one of whole numbers; all as in `four_int4`."""
    four_int4(weights, groups, numbers, 0, y, step, shift)
