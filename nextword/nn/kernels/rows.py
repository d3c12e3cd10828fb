"""Rows of weights times rows of x, one and one, one and four, or four and one, in each format of weights.

Four rows of weights with one of x share the loads of x and the cost of beginning and ending; four of x with one of
weights share the loads of weights.

Several sums run side by side, because one alone would wait for its own last addition. Everything is an address: an
array that is handed on is counted, and threads that count the same array wait for each other at every row.
"""

import numba
import numpy as np

from nextword.nn.kernels.bits import HALF, SINGLE, vector, widen
from nextword.nn.kernels.lanes import (
    BYTES_AT_ONCE,
    LANES,
    SCALES,
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
    room,
    total,
)
from nextword.nn.kernels.whole import GROUP

SHARED = 4  # rows of x that use one loaded row of W together: their sums stay in registers
SIDE = 4  # sums side by side
CORRECTIONS = 4 * LANES  # bytes of the corrections of one group
LEAST = 5  # the shift of the smallest groups of weights of 4 bits: 32, half of a group of numbers
FAST = {"fastmath": True, "nogil": True, "error_model": "numpy"}


@numba.njit(**FAST, inline="never")
def dot(w_D, x_D):
    """w · x with w bf16 bits or float32."""
    sum_ = np.float32(0)
    for d in range(x_D.shape[0]):
        sum_ += widen(w_D[d]) * x_D[d]
    return sum_


@numba.njit(**FAST, inline="never")
def write_four(y, a, b, c, d, scale):
    """The totals of four sums, times scale, to address y."""
    y_4 = vector(y, SHARED, SINGLE)
    y_4[0], y_4[1], y_4[2], y_4[3] = total(a) * scale, total(b) * scale, total(c) * scale, total(d) * scale


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
    write_four(y, a, b, c, d, np.float32(1))
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


@numba.njit(**FAST, inline="never")
def dot_int8(w, width, q, corrections, s):
    """The dot product of a row of 8 bits with whole numbers, without the row's scale; all by their addresses."""
    a, b, c, d = nothing(), nothing(), nothing(), nothing()
    g, groups = 0, width // GROUP
    s_G = vector(s, groups + 1, SINGLE)
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
def dots_int8(w, width, q, corrections, s, y, scale):
    """Four of them, with rows of whole numbers that follow each other; times the row's scale, written to address y."""
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
    write_four(y, a, b, c, d, scale)


@numba.njit(**FAST, inline="never")
def scales_of(scales, corrections, s, count, shift, place):
    """Writes the scales of products of `count` groups of 64 numbers to an address: of weights times of numbers.

    Where the weights' groups are halves of these (shift 5), two each. Gives the sum of all corrections by these scales.
    All are addresses.
    """
    many = 2 * count if shift == LEAST else count
    s_G, out_C, off_C = vector(s, count, SINGLE), vector(place, many, SINGLE), vector(corrections, many, SINGLE)
    w_G = vector(scales, ((count * GROUP) >> shift) + 1, HALF)
    if shift == LEAST:
        for g in range(many):
            out_C[g] = widen(w_G[g]) * s_G[g >> 1]
    elif shift == LEAST + 1:
        for g in range(count):
            out_C[g] = widen(w_G[g]) * s_G[g]
    else:
        for g in range(count):
            out_C[g] = widen(w_G[g >> (shift - LEAST - 1)]) * s_G[g]
    return dot(out_C, off_C)


@numba.njit(**FAST, inline="never")
def dot_int4(w, scales, groups, q, corrections, s, shift):
    """The dot product of a row of 4 bits with whole numbers in `groups`; all by their addresses.

    scales: of the row's groups of 2^shift weights.
    """
    a, b, place, off = nothing(), nothing(), room(), np.float32(0)
    s_C = vector(place, SCALES, SINGLE)
    most, halves = (SCALES // 2, 2) if shift == LEAST else (SCALES, 1)
    for first in range(0, groups, most):
        count = min(most, groups - first)
        own = scales + ((first * GROUP) >> shift) * 2
        off += scales_of(own, corrections + first * halves * 4, s + first * 4, count, shift, place)
        p, k = w + first * BYTES_AT_ONCE, q + first * GROUP
        if halves == 2:
            for g in range(count):
                a = plus_low_int4(a, p, k, s_C[2 * g])
                b = plus_high_int4(b, p, k + BYTES_AT_ONCE, s_C[2 * g + 1])
                p, k = p + BYTES_AT_ONCE, k + GROUP
            continue
        g = 0
        while g + 2 <= count:
            a = plus_int4(a, p, k, s_C[g])
            b = plus_int4(b, p + BYTES_AT_ONCE, k + GROUP, s_C[g + 1])
            p, k, g = p + 2 * BYTES_AT_ONCE, k + 2 * GROUP, g + 2
        if g < count:
            a = plus_int4(a, p, k, s_C[g])
    return total(both(a, b)) + off


@numba.njit(**FAST, inline="never")
def dots_int4(w, scales, groups, q, corrections, s, y, shift):
    """Four of them, where the weights' groups are of 64 or more, with rows that follow each other; to address y."""
    a, b, c, d, place = nothing(), nothing(), nothing(), nothing(), room()
    most, row, y_4 = SCALES // SHARED, groups * GROUP, vector(y, SHARED, SINGLE)
    y_4[:] = 0
    s_C = vector(place, SCALES, SINGLE)
    for first in range(0, groups, most):
        count = min(most, groups - first)
        own = scales + ((first * GROUP) >> shift) * 2
        for n in range(SHARED):
            line = (n * groups + first) * 4
            y_4[n] += scales_of(own, corrections + line, s + line, count, shift, place + n * most * 4)
        for g in range(count):
            p, k = w + (first + g) * BYTES_AT_ONCE, q + (first + g) * GROUP
            a = plus_int4(a, p, k, s_C[g])
            b = plus_int4(b, p, k + row, s_C[most + g])
            c = plus_int4(c, p, k + 2 * row, s_C[2 * most + g])
            d = plus_int4(d, p, k + 3 * row, s_C[3 * most + g])
    y_4[0] += total(a)
    y_4[1] += total(b)
    y_4[2] += total(c)
    y_4[3] += total(d)


@numba.njit(**FAST, inline="never")
def block_bf16(w, x, width, y):
    """Four rows of weights that follow each other with one of x in the order of `product.apart`; to address y."""
    a, b, c, d = nothing(), nothing(), nothing(), nothing()
    row, k = width * 2, 0
    while k + 16 <= width:
        p, q = w + k * 2, x + k * 4
        a = plus_odd_bf16(plus_even_bf16(a, p, q), p, q + 32)
        b = plus_odd_bf16(plus_even_bf16(b, p + row, q), p + row, q + 32)
        c = plus_odd_bf16(plus_even_bf16(c, p + 2 * row, q), p + 2 * row, q + 32)
        d = plus_odd_bf16(plus_even_bf16(d, p + 3 * row, q), p + 3 * row, q + 32)
        k += 16
    write_four(y, a, b, c, d, np.float32(1))
    rest_D, y_4 = vector(x + k * 4, width - k, SINGLE), vector(y, SHARED, SINGLE)
    for r in range(SHARED):
        y_4[r] += dot(vector(w + r * row + k * 2, width - k, HALF), rest_D)


@numba.njit(**FAST, inline="never")
def block_int8(w, width, q, corrections, s, y):
    """Four rows of 8 bits that follow each other with one of whole numbers, without scales; to address y."""
    a, b, c, d = nothing(), nothing(), nothing(), nothing()
    groups = width // GROUP
    s_G = vector(s, groups + 1, SINGLE)
    for g in range(groups):
        p, k, o = w + g * GROUP, q + g * GROUP, corrections + g * CORRECTIONS
        for r in range(SHARED):
            fetch(p + (SHARED + r) * width)
        a = plus_int8(a, p, k, o, s_G[g])
        b = plus_int8(b, p + width, k, o, s_G[g])
        c = plus_int8(c, p + 2 * width, k, o, s_G[g])
        d = plus_int8(d, p + 3 * width, k, o, s_G[g])
    if width % GROUP:
        p, k, o = w + groups * GROUP, q + groups * GROUP, corrections + groups * CORRECTIONS
        a = plus_half_int8(a, p, k, o, s_G[groups])
        b = plus_half_int8(b, p + width, k, o, s_G[groups])
        c = plus_half_int8(c, p + 2 * width, k, o, s_G[groups])
        d = plus_half_int8(d, p + 3 * width, k, o, s_G[groups])
    write_four(y, a, b, c, d, np.float32(1))


@numba.njit(**FAST, inline="never")
def block_int4(w, scales, groups, q, corrections, s, y, shift):
    """Four rows of 4 bits that follow each other, in groups of 64 or more, with one of whole numbers; to address y."""
    a, b, c, d, place = nothing(), nothing(), nothing(), nothing(), room()
    most, row, y_4 = SCALES // SHARED, groups * BYTES_AT_ONCE, vector(y, SHARED, SINGLE)
    line = ((groups * GROUP + (1 << shift) - 1) >> shift) * 2
    y_4[:] = 0
    s_C = vector(place, SCALES, SINGLE)
    for first in range(0, groups, most):
        count = min(most, groups - first)
        own = scales + ((first * GROUP) >> shift) * 2
        for r in range(SHARED):
            to = place + r * most * 4
            y_4[r] += scales_of(own + r * line, corrections + first * 4, s + first * 4, count, shift, to)
        for g in range(count):
            p, k = w + (first + g) * BYTES_AT_ONCE, q + (first + g) * GROUP
            for r in range(SHARED):
                fetch(p + (SHARED + r) * row)
            a = plus_int4(a, p, k, s_C[g])
            b = plus_int4(b, p + row, k, s_C[most + g])
            c = plus_int4(c, p + 2 * row, k, s_C[2 * most + g])
            d = plus_int4(d, p + 3 * row, k, s_C[3 * most + g])
    y_4[0] += total(a)
    y_4[1] += total(b)
    y_4[2] += total(c)
    y_4[3] += total(d)
