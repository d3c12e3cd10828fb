"""Vectors of eight float32 as values of compiled code, and the few instructions on them that Numba does not find.

A loop over 8-bit numbers, left to the compiler, is widened to 32 bits and multiplied at a fraction of the speed. The
processors have instructions for just this: sums of four products of an unsigned and a signed byte, eight at once. They
are reached through LLVM's intrinsics, chosen when the code is compiled for what the processor has:

    VNNI (2019 and later)     vpdpbusd: the four products and their sum, in one
    AVX2 (2013 and later)     vpmaddubsw, vpmaddwd: products in pairs to 16 bits, pairs to 32
    elsewhere                 plain products of widened numbers, which LLVM makes the best of

All three give the same whole numbers, exactly. The rest of a kernel is plain Python (`product`).
"""

from functools import reduce

import llvmlite.binding
from llvmlite import ir
from numba import types
from numba.core import cgutils, config
from numba.core.extending import intrinsic, models, register_model

I8, I32, I64, F32 = ir.IntType(8), ir.IntType(32), ir.IntType(64), ir.FloatType()
BYTES, SHORTS, WHOLES = ir.VectorType(I8, 32), ir.VectorType(ir.IntType(16), 16), ir.VectorType(I32, 8)
FLOATS, WIDE = ir.VectorType(F32, 8), ir.VectorType(I32, 32)
BYTES_AT_ONCE, LANES = 32, 8
SCALES = 128  # float32 that a function keeps on its stack
SHIFT = 4  # of the upper half of a byte


def has(*features: str) -> bool:
    """Whether code is compiled for a processor with these features (`NUMBA_CPU_FEATURES`, or this one)."""
    if config.CPU_FEATURES is not None:
        return all(f"+{one}" in config.CPU_FEATURES.split(",") for one in features)
    found = llvmlite.binding.get_host_cpu_features()
    return all(found.get(one, False) for one in features)


def vnni() -> bool:
    """Whether there is vpdpbusd on 32 bytes."""
    return has("avxvnni") or has("avx512vnni", "avx512vl")


class LanesType(types.Type):
    """Eight float32 in a register."""

    def __init__(self) -> None:
        super().__init__(name="float32x8")


lanes = LanesType()


@register_model(LanesType)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, manager, kind):
        super().__init__(manager, kind, FLOATS)


def _called(builder, name, result, arguments):
    """The result of an LLVM intrinsic."""
    kinds = [argument.type for argument in arguments]
    known = builder.module.globals.get(name) or ir.Function(builder.module, ir.FunctionType(result, kinds), name)
    return builder.call(known, arguments)


def _loaded(builder, place, kind):
    """The vector at an address, wherever it begins."""
    found = builder.load(builder.inttoptr(place, kind.as_pointer()))
    found.align = 1
    return found


def _all(kind, number):
    """A vector of one number."""
    return ir.Constant(kind, [number] * kind.count)


def _spread(builder, number):
    """One float32 in all lanes."""
    nothing = ir.Constant(FLOATS, ir.Undefined)
    first = builder.insert_element(nothing, number, ir.Constant(I32, 0))
    return builder.shuffle_vector(first, nothing, ir.Constant(WHOLES, [0] * LANES))


def _fours(builder, products):
    """Sums of four neighbours: 32 numbers of 32 bits to 8."""
    empty = ir.Constant(products.type, ir.Undefined)
    parts = [
        builder.shuffle_vector(products, empty, ir.Constant(WHOLES, [4 * lane + one for lane in range(LANES)]))
        for one in range(4)
    ]
    return builder.add(builder.add(parts[0], parts[1]), builder.add(parts[2], parts[3]))


def _wide(builder, widened, signed):
    """The same sums without any instruction of their own."""
    return _fours(builder, builder.mul(widened, builder.sext(signed, WIDE)))


def _pairs(builder, unsigned, signed):
    """AVX2: sums of two products of unsigned and signed bytes, which must not pass 32767."""
    return _called(builder, "llvm.x86.avx2.pmadd.ub.sw", SHORTS, [unsigned, signed])


def _by_fours(builder, pairs):
    """AVX2: sums of two pairs."""
    return _called(builder, "llvm.x86.avx2.pmadd.wd", WHOLES, [pairs, _all(SHORTS, 1)])


def _vnni(builder, start, unsigned, signed):
    """Vpdpbusd: start + the sums."""
    operands = [start, builder.bitcast(unsigned, WHOLES), builder.bitcast(signed, WHOLES)]
    return _called(builder, "llvm.x86.avx512.vpdpbusd.256", WHOLES, operands)


def _signed_sums(builder, start, weights, numbers):
    """start + sums of four products of weights (-127 ... 127) and numbers (-127 ... 127)."""
    if vnni():  # weights + 128 have no sign; the corrections in `start` take off what that adds
        return _vnni(builder, start, builder.xor(weights, _all(BYTES, -128)), numbers)
    if has("avx2"):  # |number| has no sign; the weight takes it over
        size = _called(builder, "llvm.abs.v32i8", BYTES, [numbers, ir.Constant(ir.IntType(1), 0)])
        signed = _called(builder, "llvm.x86.avx2.psign.b", BYTES, [weights, numbers])
        return builder.add(start, _by_fours(builder, _pairs(builder, size, signed)))
    return builder.add(start, _wide(builder, builder.sext(weights, WIDE), numbers))


def _nibble_sums(builder, nibbles, numbers):
    """Sums of four products of nibbles and numbers, of each of both."""
    if vnni():
        sums = _all(WHOLES, 0)
        for nibble, number in zip(nibbles, numbers, strict=True):
            sums = _vnni(builder, sums, nibble, number)
        return sums
    if has("avx2"):  # 2 · 2 · 15 · 127 is far below 32767: halves are added before they are widened
        return _by_fours(
            builder, reduce(builder.add, [_pairs(builder, *both) for both in zip(nibbles, numbers, strict=True)])
        )
    wide = [_wide(builder, builder.zext(nibble, WIDE), number) for nibble, number in zip(nibbles, numbers, strict=True)]
    return reduce(builder.add, wide)


def _fused(builder, before, x, y):
    """before + x · y, in one instruction on every processor that has it: "fast" flags would leave that to chance."""
    return _called(builder, "llvm.fmuladd.v8f32", FLOATS, [x, y, before])


def _plus(builder, before, sums, scale):
    """before + scale · sums."""
    return _fused(builder, before, builder.sitofp(sums, FLOATS), scale)


@intrinsic
def nothing(context):
    """Eight zeros."""

    def generate(context, builder, signature, arguments):
        return _all(FLOATS, 0.0)

    return lanes(), generate


def _neighbours(builder, x, y):
    """Sums of two neighbours, by halves of four lanes: of x, then of y."""
    even = [half + lane for half in (0, 4) for lane in (0, 2, 8, 10)]
    odd = [lane + 1 for lane in even]
    return builder.fadd(*(builder.shuffle_vector(x, y, ir.Constant(WHOLES, which)) for which in (even, odd)))


def _totals(builder, a, b, c, d):
    """The sums of all lanes of each, in the first four: neighbours, then twos, then fours."""
    fours = _neighbours(builder, _neighbours(builder, a, b), _neighbours(builder, c, d))
    moved = ir.Constant(WHOLES, [4, 5, 6, 7, 0, 1, 2, 3])
    return builder.fadd(fours, builder.shuffle_vector(fours, ir.Constant(FLOATS, ir.Undefined), moved))


@intrinsic
def total(context, x):
    """The sum of all lanes."""

    def generate(context, builder, signature, arguments):
        return builder.extract_element(_totals(builder, *arguments * 4), ir.Constant(I32, 0))

    return types.float32(lanes), generate


@intrinsic
def totals(context, a, b, c, d):
    """The same of four in the same order, together, which takes half the instructions."""

    def generate(context, builder, signature, arguments):
        found = _totals(builder, *arguments)
        each = [builder.extract_element(found, ir.Constant(I32, lane)) for lane in range(4)]
        return context.make_tuple(builder, signature.return_type, each)

    return types.UniTuple(types.float32, 4)(lanes, lanes, lanes, lanes), generate


@intrinsic
def alone(context, number):
    """A number and seven zeros."""

    def generate(context, builder, signature, arguments):
        return builder.insert_element(_all(FLOATS, 0.0), arguments[0], ir.Constant(I32, 0))

    return lanes(types.float32), generate


@intrinsic
def both(context, x, y):
    """x + y."""

    def generate(context, builder, signature, arguments):
        return builder.fadd(*arguments, flags=["fast"])

    return lanes(lanes, lanes), generate


def _int8(parts):
    @intrinsic
    def plus(context, before, weights, numbers, corrections, scale):
        def generate(context, builder, signature, arguments):
            before, weights, numbers, corrections, scale = arguments
            sums = _loaded(builder, corrections, WHOLES) if vnni() else _all(WHOLES, 0)
            for part in range(parts):
                step = ir.Constant(I64, part * BYTES_AT_ONCE)
                w, x = (_loaded(builder, builder.add(place, step), BYTES) for place in (weights, numbers))
                sums = _signed_sums(builder, sums, w, x)
            return _plus(builder, before, sums, _spread(builder, scale))

        return lanes(lanes, types.int64, types.int64, types.int64, types.float32), generate

    return plus


# before + scale · sums of products of 64 (32) weights of 8 bits and as many numbers. Addresses: of weights, of numbers,
# and of the 8 int32 that the sums start with.
plus_int8, plus_half_int8 = _int8(2), _int8(1)


def _halves(builder, packed):
    """The lower and the upper halves of bytes."""
    upper = builder.lshr(builder.bitcast(packed, SHORTS), _all(SHORTS, SHIFT))  # there is no shift of bytes
    return [builder.and_(part, _all(BYTES, 15)) for part in (packed, builder.bitcast(upper, BYTES))]


@intrinsic
def plus_int4(context, before, weights, numbers, scale):
    """before + scale · sums of products of 64 weights in 32 bytes, lower halves first, stored as w + 8; and 64 numbers.

    As many times 8 times the numbers too large.
    """

    def generate(context, builder, signature, arguments):
        before, weights, numbers, scale = arguments
        sums = _nibble_sums(
            builder,
            _halves(builder, _loaded(builder, weights, BYTES)),
            [_loaded(builder, builder.add(numbers, ir.Constant(I64, half * BYTES_AT_ONCE)), BYTES) for half in (0, 1)],
        )
        return _plus(builder, before, sums, _spread(builder, scale))

    return lanes(lanes, types.int64, types.int64, types.float32), generate


def _half_int4(half):
    @intrinsic
    def plus(context, before, weights, numbers, scale):
        def generate(context, builder, signature, arguments):
            before, weights, numbers, scale = arguments
            nibbles = _halves(builder, _loaded(builder, weights, BYTES))[half]
            sums = _nibble_sums(builder, [nibbles], [_loaded(builder, numbers, BYTES)])
            return _plus(builder, before, sums, _spread(builder, scale))

        return lanes(lanes, types.int64, types.int64, types.float32), generate

    return plus


# The same of the lower (upper) halves of 32 bytes and 32 numbers.
plus_low_int4, plus_high_int4 = _half_int4(0), _half_int4(1)


def _scales(each):
    @intrinsic
    def plus(context, before, halves, numbers, corrections, place):
        def generate(context, builder, signature, arguments):
            before, halves, numbers, corrections, place = arguments
            found = _loaded(builder, halves, ir.VectorType(ir.IntType(16), LANES // each))
            spread = ir.Constant(WHOLES, [lane // each for lane in range(LANES)])
            found = builder.shuffle_vector(found, ir.Constant(found.type, ir.Undefined), spread)
            bits = builder.shl(builder.zext(found, WHOLES), _all(WHOLES, 16))
            scales = builder.bitcast(bits, FLOATS)
            product = builder.fmul(scales, _loaded(builder, numbers, FLOATS))
            builder.store(product, builder.inttoptr(place, FLOATS.as_pointer())).align = 4
            return _fused(builder, before, scales, _loaded(builder, corrections, FLOATS))

        return lanes(lanes, types.int64, types.int64, types.int64, types.int64), generate

    return plus


# before + products of eight weights' scales in bf16 (four, each for two neighbours) and eight corrections; those of the
# scales and the numbers' scales are written. Addresses: of weights' and numbers' scales, corrections, and where to.
plus_scales, plus_shared_scales = _scales(1), _scales(2)


def _bf16(odd):
    @intrinsic
    def plus(context, before, weights, numbers):
        def generate(context, builder, signature, arguments):
            before, weights, numbers = arguments
            pairs = _loaded(builder, weights, WHOLES)
            bits = builder.and_(pairs, _all(WHOLES, -65536)) if odd else builder.shl(pairs, _all(WHOLES, 16))
            product = builder.fmul(builder.bitcast(bits, FLOATS), _loaded(builder, numbers, FLOATS), flags=["fast"])
            return builder.fadd(before, product, flags=["fast"])

        return lanes(lanes, types.int64, types.int64), generate

    return plus


# before + products of the even (odd) ones of 16 bf16 and eight float32, by their addresses. Two bf16 are a number of 32
# bits: shifted up, its lower half is a float32, and with the lower half emptied it is the other. That takes two
# instructions for 16 weights, where widening eight and eight takes four.
plus_even_bf16, plus_odd_bf16 = _bf16(odd=False), _bf16(odd=True)


@intrinsic
def fetch(context, place):
    """Asks memory for the 64 bytes at an address that will be read soon (it need not exist)."""

    def generate(context, builder, signature, arguments):
        pointer = builder.inttoptr(arguments[0], ir.PointerType(I8))
        kinds = [pointer.type, I32, I32, I32]
        name = "llvm.prefetch.p0"
        known = builder.module.globals.get(name)
        known = known or ir.Function(builder.module, ir.FunctionType(ir.VoidType(), kinds), name)
        builder.call(known, [pointer, *(ir.Constant(I32, number) for number in (0, 3, 1))])  # read; keep; data
        return context.get_dummy_value()

    return types.none(types.int64), generate


@intrinsic
def room(context):
    """The address of SCALES float32 on the stack, the function's own."""

    def generate(context, builder, signature, arguments):
        place = cgutils.alloca_once(builder, ir.ArrayType(F32, SCALES))
        place.align = BYTES_AT_ONCE
        return builder.ptrtoint(place, I64)

    return types.int64(), generate
