"""Tiles: some rows of weights times some rows of x, each number loaded once for all that it meets.

    sum_rn ← sum_rn + w_r[k ...] · x_n[k ...]        r = 1 ... R, n = 1 ... N

One row of weights with one of x loads two numbers for each product. A tile of four and four loads eight for sixteen,
and widens or splits each weight once for four products, so that its time is that of multiplying. Its sums are values of
compiled code that stay in registers. Here is one step over k in each format of weights; `rows` goes through whole rows.

Every sum of whole numbers adds in the order of its groups, whatever else is in the tile: the same number, to the last
bit.
"""

from llvmlite import ir
from numba import types
from numba.core.extending import intrinsic

from nextword.nn.kernels.lanes import (
    BYTES,
    BYTES_AT_ONCE,
    F32,
    FLOATS,
    I32,
    I64,
    WHOLES,
    all_of,
    fused,
    halves_of,
    lanes,
    loaded,
    nibble_sums,
    plus_scaled,
    signed_sums,
    spread,
    totals_of,
    vnni,
)

CHUNK = 32  # products of scales of a pair of rows that are at hand at once
FOUR = 4  # sums whose lanes are added up together
SIZE = FLOATS.count * 4  # bytes of the lanes of one sum


def _step(builder, place, count, size):
    """The address `count` times `size` bytes further on."""
    return builder.add(place, builder.mul(size, ir.Constant(I64, count)))


def _later(builder, place, count):
    return builder.add(place, ir.Constant(I64, count))


def sums_of(high, wide):
    """Intrinsics of high · wide sums: all 0, and to write their totals."""
    kind = types.UniTuple(lanes, high * wide)

    @intrinsic
    def zero(context):
        def generate(context, builder, signature, arguments):
            return context.make_tuple(builder, signature.return_type, [all_of(FLOATS, 0.0)] * (high * wide))

        return kind(), generate

    @intrinsic
    def written(context, sums, y, step):
        """That of row r of weights with row n of x goes to y + (r · step + n) · 4."""

        def generate(context, builder, signature, arguments):
            sums, y, step = arguments
            each = [builder.extract_value(sums, i) for i in range(high * wide)]
            each += each[:1] * (-len(each) % FOUR)
            for first in range(0, high * wide, FOUR):
                found = totals_of(builder, *each[first : first + FOUR])
                for i in range(first, min(first + FOUR, high * wide)):
                    bytes_on = builder.mul(step, ir.Constant(I64, i // wide * 4))
                    place = _later(builder, builder.add(y, bytes_on), i % wide * 4)
                    number = builder.extract_element(found, ir.Constant(I32, i - first))
                    builder.store(number, builder.inttoptr(place, F32.as_pointer()))
            return context.get_dummy_value()

        return types.none(kind, types.int64, types.int64), generate

    return kind, zero, written


def plus_bf16(high, wide, kind):
    """An intrinsic: 16 more bf16 of each row of weights with as many float32 in the order of `product.apart`.

    Addresses: of weights and bytes to the next row, the same of x.
    """

    @intrinsic
    def plus(context, sums, w, row, x, size):
        def generate(context, builder, signature, arguments):
            sums, w, row, x, size = arguments
            each = [builder.extract_value(sums, i) for i in range(high * wide)]
            pairs = [loaded(builder, _step(builder, w, r, row), WHOLES) for r in range(high)]
            for odd in (0, 1):
                bits = [
                    builder.and_(pair, all_of(WHOLES, -65536)) if odd else builder.shl(pair, all_of(WHOLES, 16))
                    for pair in pairs
                ]
                weights = [builder.bitcast(one, FLOATS) for one in bits]
                for n in range(wide):
                    place = _later(builder, _step(builder, x, n, size), odd * FLOATS.count * 4)
                    numbers = loaded(builder, place, FLOATS)
                    for r in range(high):
                        product = builder.fmul(weights[r], numbers, flags=["fast"])
                        each[r * wide + n] = builder.fadd(each[r * wide + n], product, flags=["fast"])
            return context.make_tuple(builder, signature.return_type, each)

        return kind(kind, *[types.int64] * 4), generate

    return plus


def plus_single(high, wide, kind):
    """An intrinsic: 8 more float32 of each row of weights with as many of x; addresses as for bf16."""

    @intrinsic
    def plus(context, sums, w, row, x, size):
        def generate(context, builder, signature, arguments):
            sums, w, row, x, size = arguments
            each = [builder.extract_value(sums, i) for i in range(high * wide)]
            weights = [loaded(builder, _step(builder, w, r, row), FLOATS) for r in range(high)]
            for n in range(wide):
                numbers = loaded(builder, _step(builder, x, n, size), FLOATS)
                for r in range(high):
                    each[r * wide + n] = fused(builder, each[r * wide + n], weights[r], numbers)
            return context.make_tuple(builder, signature.return_type, each)

        return kind(kind, *[types.int64] * 4), generate

    return plus


def weighted_of(high, wide):
    """Intrinsics of high · wide sums of 8 float32: of `wide` rows of outputs, `high` times 8 numbers of each.

    They are taken from an address (with bytes to the next row), a row of numbers is added by the weight that each row
    of outputs has for it (address, bytes to the next one's), and they are put back.
    """
    kind = types.UniTuple(lanes, high * wide)

    def places(builder, out, row):
        each = [(r, n) for r in range(high) for n in range(wide)]
        return [_later(builder, _step(builder, out, n, row), r * SIZE) for r, n in each]

    @intrinsic
    def taken(context, out, row):
        def generate(context, builder, signature, arguments):
            each = [loaded(builder, place, FLOATS) for place in places(builder, *arguments)]
            return context.make_tuple(builder, signature.return_type, each)

        return kind(types.int64, types.int64), generate

    @intrinsic
    def plus(context, sums, weights, apart, v):
        def generate(context, builder, signature, arguments):
            sums, weights, apart, v = arguments
            each = [builder.extract_value(sums, i) for i in range(high * wide)]
            numbers = [loaded(builder, _later(builder, v, r * SIZE), FLOATS) for r in range(high)]
            for n in range(wide):
                place = builder.inttoptr(_step(builder, weights, n, apart), F32.as_pointer())
                weight = spread(builder, builder.load(place))
                for r in range(high):
                    each[r * wide + n] = fused(builder, each[r * wide + n], numbers[r], weight)
            return context.make_tuple(builder, signature.return_type, each)

        return kind(kind, types.int64, types.int64, types.int64), generate

    @intrinsic
    def back(context, sums, out, row):
        def generate(context, builder, signature, arguments):
            sums, out, row = arguments
            for i, place in enumerate(places(builder, out, row)):
                builder.store(builder.extract_value(sums, i), builder.inttoptr(place, FLOATS.as_pointer())).align = 4
            return context.get_dummy_value()

        return types.none(kind, types.int64, types.int64), generate

    return taken, plus, back


def plus_int8(high, wide, kind, parts):
    """An intrinsic: a group of 64 weights of 8 bits (32: `parts` 1) with whole numbers.

    Addresses: of weights and bytes to the next row; of numbers, their corrections (the 8 int32 that sums start with)
    and scales, and in `strides` the bytes to those of the next row.
    """

    @intrinsic
    def plus(context, sums, w, row, q, corrections, s, strides):
        def generate(context, builder, signature, arguments):
            sums, w, row, q, corrections, s, strides = arguments
            size, line, own = (builder.extract_value(strides, i) for i in range(3))
            each = [builder.extract_value(sums, i) for i in range(high * wide)]
            steps = [part * BYTES_AT_ONCE for part in range(parts)]
            weights = [
                [loaded(builder, _later(builder, _step(builder, w, r, row), step), BYTES) for step in steps]
                for r in range(high)
            ]
            for n in range(wide):
                numbers = [loaded(builder, _later(builder, _step(builder, q, n, size), step), BYTES) for step in steps]
                begin = all_of(WHOLES, 0)
                if vnni():
                    begin = loaded(builder, _step(builder, corrections, n, line), WHOLES)
                place = builder.inttoptr(_step(builder, s, n, own), F32.as_pointer())
                scale = spread(builder, builder.load(place))
                for r in range(high):
                    found = begin
                    for weight, number in zip(weights[r], numbers, strict=True):
                        found = signed_sums(builder, found, weight, number)
                    each[r * wide + n] = plus_scaled(builder, each[r * wide + n], found, scale)
            return context.make_tuple(builder, signature.return_type, each)

        strides_kind = types.UniTuple(types.int64, 3)
        return kind(kind, *[types.int64] * 5, strides_kind), generate

    return plus


def plus_int4(high, wide, kind, halves):
    """An intrinsic: 64 weights of 4 bits in 32 bytes, lower halves first, stored as w + 8, with whole numbers.

    8 times the numbers too large. Addresses: of weights and bytes to the next row, the same of numbers; where the one
    scale (two, `halves`) of each pair of rows stands, those of the next pair CHUNK float32 further on.
    """

    @intrinsic
    def plus(context, sums, w, row, q, size, scales):
        def generate(context, builder, signature, arguments):
            sums, w, row, q, size, scales = arguments
            each = [builder.extract_value(sums, i) for i in range(high * wide)]
            nibbles = [halves_of(builder, loaded(builder, _step(builder, w, r, row), BYTES)) for r in range(high)]
            for n in range(wide):
                first = _step(builder, q, n, size)
                numbers = [loaded(builder, _later(builder, first, half * BYTES_AT_ONCE), BYTES) for half in (0, 1)]
                for r in range(high):
                    i = r * wide + n
                    parts = [(nibbles[r], numbers)] if halves == 1 else [
                        ([nibbles[r][half]], [numbers[half]]) for half in (0, 1)
                    ]  # fmt: skip
                    for half, part in enumerate(parts):
                        place = _later(builder, scales, (i * CHUNK + half) * 4)
                        scale = spread(builder, builder.load(builder.inttoptr(place, F32.as_pointer())))
                        each[i] = plus_scaled(builder, each[i], nibble_sums(builder, *part), scale)
            return context.make_tuple(builder, signature.return_type, each)

        return kind(kind, *[types.int64] * 5), generate

    return plus


def plus_scales(high, wide, kind, each):
    """An intrinsic: products of eight scales of each row of weights with eight corrections of each row of numbers.

    The scales are bf16, each for `each` neighbours; their products with the numbers' scales are written. Addresses: of
    weights' scales and bytes to the next row's; of numbers' scales and of corrections, and bytes to the next row's;
    where to, CHUNK float32 further on for the next pair.
    """
    count = FLOATS.count
    which = ir.Constant(WHOLES, [lane // each for lane in range(count)])

    @intrinsic
    def plus(context, sums, scales, own, s, corrections, line, to):
        def generate(context, builder, signature, arguments):
            sums, scales, own, s, corrections, line, to = arguments
            found = [builder.extract_value(sums, i) for i in range(high * wide)]
            numbers = [loaded(builder, _step(builder, s, n, line), FLOATS) for n in range(wide)]
            offsets = [loaded(builder, _step(builder, corrections, n, line), FLOATS) for n in range(wide)]
            for r in range(high):
                halves = loaded(builder, _step(builder, scales, r, own), ir.VectorType(ir.IntType(16), count // each))
                halves = builder.shuffle_vector(halves, ir.Constant(halves.type, ir.Undefined), which)
                widened = builder.bitcast(builder.shl(builder.zext(halves, WHOLES), all_of(WHOLES, 16)), FLOATS)
                for n in range(wide):
                    i = r * wide + n
                    place = builder.inttoptr(_later(builder, to, i * CHUNK * 4), FLOATS.as_pointer())
                    builder.store(builder.fmul(widened, numbers[n]), place).align = 4
                    found[i] = fused(builder, found[i], widened, offsets[n])
            return context.make_tuple(builder, signature.return_type, found)

        return kind(kind, *[types.int64] * 6), generate

    return plus
