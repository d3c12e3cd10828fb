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


def loaded(builder, place, kind):
    """The vector at an address, wherever it begins."""
    found = builder.load(builder.inttoptr(place, kind.as_pointer()))
    found.align = 1
    return found


def all_of(kind, number):
    """A vector of one number."""
    return ir.Constant(kind, [number] * kind.count)


def spread(builder, number):
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
    return _called(builder, "llvm.x86.avx2.pmadd.wd", WHOLES, [pairs, all_of(SHORTS, 1)])


def _vnni(builder, start, unsigned, signed):
    """Vpdpbusd: start + the sums."""
    operands = [start, builder.bitcast(unsigned, WHOLES), builder.bitcast(signed, WHOLES)]
    return _called(builder, "llvm.x86.avx512.vpdpbusd.256", WHOLES, operands)


def signed_sums(builder, start, weights, numbers):
    """start + sums of four products of weights (-127 ... 127) and numbers (-127 ... 127)."""
    if vnni():  # weights + 128 have no sign; the corrections in `start` take off what that adds
        return _vnni(builder, start, builder.xor(weights, all_of(BYTES, -128)), numbers)
    if has("avx2"):  # |number| has no sign; the weight takes it over
        size = _called(builder, "llvm.abs.v32i8", BYTES, [numbers, ir.Constant(ir.IntType(1), 0)])
        signed = _called(builder, "llvm.x86.avx2.psign.b", BYTES, [weights, numbers])
        return builder.add(start, _by_fours(builder, _pairs(builder, size, signed)))
    return builder.add(start, _wide(builder, builder.sext(weights, WIDE), numbers))


def nibble_sums(builder, nibbles, numbers):
    """Sums of four products of nibbles and numbers, of each of both."""
    if vnni():
        sums = all_of(WHOLES, 0)
        for nibble, number in zip(nibbles, numbers, strict=True):
            sums = _vnni(builder, sums, nibble, number)
        return sums
    if has("avx2"):  # 2 · 2 · 15 · 127 is far below 32767: halves are added before they are widened
        return _by_fours(
            builder, reduce(builder.add, [_pairs(builder, *both) for both in zip(nibbles, numbers, strict=True)])
        )
    wide = [_wide(builder, builder.zext(nibble, WIDE), number) for nibble, number in zip(nibbles, numbers, strict=True)]
    return reduce(builder.add, wide)


def fused(builder, before, x, y):
    """before + x · y, in one instruction on every processor that has it: "fast" flags would leave that to chance."""
    return _called(builder, "llvm.fmuladd.v8f32", FLOATS, [x, y, before])


def plus_scaled(builder, before, sums, scale):
    """before + scale · sums."""
    return fused(builder, before, builder.sitofp(sums, FLOATS), scale)


def _neighbours(builder, x, y):
    """Sums of two neighbours, by halves of four lanes: of x, then of y."""
    even = [half + lane for half in (0, 4) for lane in (0, 2, 8, 10)]
    odd = [lane + 1 for lane in even]
    return builder.fadd(*(builder.shuffle_vector(x, y, ir.Constant(WHOLES, which)) for which in (even, odd)))


def totals_of(builder, a, b, c, d):
    """The sums of all lanes of each, in the first four: neighbours, then twos, then fours."""
    fours = _neighbours(builder, _neighbours(builder, a, b), _neighbours(builder, c, d))
    moved = ir.Constant(WHOLES, [4, 5, 6, 7, 0, 1, 2, 3])
    return builder.fadd(fours, builder.shuffle_vector(fours, ir.Constant(FLOATS, ir.Undefined), moved))


def halves_of(builder, packed):
    """The lower and the upper halves of bytes."""
    upper = builder.lshr(builder.bitcast(packed, SHORTS), all_of(SHORTS, SHIFT))  # there is no shift of bytes
    return [builder.and_(part, all_of(BYTES, 15)) for part in (packed, builder.bitcast(upper, BYTES))]


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


def room_of(count):
    """An intrinsic: the address of `count` float32 on the stack, the function's own."""

    @intrinsic
    def room(context):
        def generate(context, builder, signature, arguments):
            place = cgutils.alloca_once(builder, ir.ArrayType(F32, count))
            place.align = BYTES_AT_ONCE
            return builder.ptrtoint(place, I64)

        return types.int64(), generate

    return room
