"""Rows of weights times rows of x in each format of weights: four and four, four and two, four and one, one and one.

Four rows of weights with one of x share the loads of x and the cost of beginning and ending; four with four are a tile
(`tile`) whose time is that of multiplying.

With weights of 8 and 4 bits all add in the same order and round alike: what a row of x gives is the same number, to the
last bit, whatever rows are beside it. It has to be, because the next layer rounds it to 8 bits: the least difference
there would take some numbers to the neighbour of what they are else.

Everything is an address: an array that is handed on is counted, and threads that count the same array wait for each
other at every row.
"""

import numba
import numpy as np

from nextword.nn.kernels.bits import HALF, SINGLE, vector, widen
from nextword.nn.kernels.lanes import (
    BYTES_AT_ONCE,
    LANES,
    fetch,
    has,
    room_of,
)
from nextword.nn.kernels.tile import CHUNK, plus_bf16, plus_int4, plus_int8, plus_scales, plus_single, sums_of
from nextword.nn.kernels.whole import GROUP

SHARED = 4  # rows of weights, and of x, that use each other's numbers together
TALL = SHARED if has("avx512vl") else 2  # rows of weights in a tile with four of x: sixteen sums take 32 registers
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


@numba.njit(**EXACT, inline="never")
def spread_scales(scales, own, high, first, count, more, out):
    """Of each of `high` rows the scales of products first ... first + 7, 2^more of which share one; 0 from `count` on.

    scales: the address of those of the first row, `own` bytes to the next one's. out: where they are written.
    """
    out_RC = vector(out, high * LANES, HALF).reshape((high, LANES))
    for r in range(high):
        w_G = vector(scales + r * own, (count - 1 >> more) + 1, HALF)
        for c in range(LANES):
            out_RC[r, c] = w_G[(first + c) >> more] if first + c < count else 0


def make_floats(high, wide, plus_of, kind, at_once, flags):
    """`high` rows of the numbers of a `kind`, `row` bytes apart, with `wide` of float32, one behind the other.

    All by their addresses; to y, and `step` numbers further on for each row of weights. plus_of: of `tile`, the step of
    `at_once` numbers.
    """
    sums_kind, zero, written = sums_of(high, wide)
    plus, size_of = plus_of(high, wide, sums_kind), kind.itemsize

    @numba.njit(**flags, inline="never")
    def tile(w, row, x, width, y, step):
        sums, k, size = zero(), 0, width * 4
        while k + at_once <= width:
            sums = plus(sums, w + k * size_of, row, x + k * 4, size)
            k += at_once
        written(sums, y, step)
        if k < width:
            for r in range(high):
                w_D, y_N = vector(w + r * row + k * size_of, width - k, kind), vector(y + r * step * 4, wide, SINGLE)
                for n in range(wide):
                    y_N[n] += dot(w_D, vector(x + n * size + k * 4, width - k, SINGLE))

    return tile


def make_bf16(high, wide):
    """Rows of bf16 with those of x in the order of `product.apart`."""
    return make_floats(high, wide, plus_bf16, HALF, 2 * LANES, FAST)


def make_single(high, wide):
    """Rows of float32 with those of x as they are; all sums in one order, whatever else is in the tile."""
    return make_floats(high, wide, plus_single, SINGLE, LANES, EXACT)


def make_int8(high, wide):
    """The same in 8 bits with whole numbers.

    weights: the address of a row, bytes to the next one; the same of its scale. numbers: the addresses of numbers, what
    their sums start with (`whole.lane_corrections`), and their scales.
    """
    kind, zero, written = sums_of(high, wide)
    plus, plus_half = plus_int8(high, wide, kind, 2), plus_int8(high, wide, kind, 1)

    @numba.njit(**EXACT, inline="never")
    def tile(weights, width, numbers, y, step):
        (w, row, scales, own), (q, corrections, s) = weights, numbers
        groups, each = width // GROUP, (width + GROUP - 1) // GROUP
        strides = (each * GROUP, each * CORRECTIONS, each * 4)
        sums = zero()
        for g in range(groups):
            sums = plus(sums, w + g * GROUP, row, q + g * GROUP, corrections + g * CORRECTIONS, s + g * 4, strides)
        if width % GROUP:
            p, k, o = w + groups * GROUP, q + groups * GROUP, corrections + groups * CORRECTIONS
            sums = plus_half(sums, p, row, k, o, s + groups * 4, strides)
        written(sums, y, step)
        for r in range(high):
            scale, y_N = vector(scales + r * own, 1, SINGLE)[0], vector(y + r * step * 4, wide, SINGLE)
            for n in range(wide):
                y_N[n] *= scale

    return tile


def make_int4(high, wide):
    """The same in 4 bits, of which `groups` times 64 are a row.

    numbers: the addresses of numbers, and of the corrections and scales of `whole.group_corrections`. Eight of these
    and of the weights' scales are read at once, the last of a row with what follows: behind numbers' there are zeros,
    so that behind weights' there may be any number, but there must be one, behind the last row's, too.
    """
    kind, zero, written = sums_of(high, wide)
    plus, plus_halves = plus_int4(high, wide, kind, 1), plus_int4(high, wide, kind, 2)
    plus_own, plus_shared = plus_scales(high, wide, kind, 1), plus_scales(high, wide, kind, 2)
    room_of_products, room_of_few = room_of(high * wide * CHUNK), room_of(high * LANES)

    @numba.njit(**EXACT, inline="never")
    def tile(weights, groups, numbers, y, step, shift):
        (w, row, scales, own), (q, corrections, s) = weights, numbers
        halves, more = 2 if shift == LEAST else 1, max(shift - LEAST - 1, 0)
        size, line, place, few = groups * GROUP, (groups * halves + LANES) * 4, room_of_products(), room_of_few()
        sums = zero()
        for first in range(0, groups, CHUNK // halves):
            count, skipped = min(CHUNK // halves, groups - first), first * halves * 4
            h, o, t, c = scales + ((first * GROUP) >> shift) * 2, corrections + skipped, s + skipped, 0
            while more == 0 and c < count * halves:
                sums = plus_own(sums, h + c * 2, own, t + c * 4, o + c * 4, line, place + c * 4)
                c += LANES
            while more == 1 and c < count * halves:
                sums = plus_shared(sums, h + c, own, t + c * 4, o + c * 4, line, place + c * 4)
                c += LANES
            while c < count * halves:
                spread_scales(h, own, high, c, count * halves, more, few)
                sums = plus_own(sums, few, LANES * 2, t + c * 4, o + c * 4, line, place + c * 4)
                c += LANES
            for g in range(count):
                p, k = w + (first + g) * BYTES_AT_ONCE, q + (first + g) * GROUP
                if wide == 1:
                    for r in range(high):
                        fetch(p + r * row + AHEAD)
                if halves == 1:
                    sums = plus(sums, p, row, k, size, place + g * 4)
                else:
                    sums = plus_halves(sums, p, row, k, size, place + g * 8)
        written(sums, y, step)

    return tile


four_bf16, two_bf16, one_bf16, single_bf16 = (make_bf16(*size) for size in ((TALL, 4), (4, 2), (4, 1), (1, 1)))
four_fp32, two_fp32, one_fp32, single_fp32 = (make_single(*size) for size in ((TALL, 4), (4, 2), (4, 1), (1, 1)))
four_int8, two_int8, one_int8, single_int8 = (make_int8(*size) for size in ((TALL, 4), (4, 2), (4, 1), (1, 1)))
four_int4, two_int4, one_int4, single_int4 = (make_int4(*size) for size in ((TALL, 4), (4, 2), (4, 1), (1, 1)))
