"""Numbers as the compiled kernels see them: raw addresses, and bf16 that is widened in registers.

bfloat16 is the upper half of a float32: sixteen zero bits below it give the same number back. So a kernel reads half
the bytes and multiplies in full precision, on any processor; NumPy, which has no bfloat16, sees the weights as uint16.

A `kind` is an empty array whose type says what lies at an address (`KINDS`); Numba compiles one function for each.
Bytes with a sign are weights of 8 bits, bytes without are pairs of weights of 4 bits (`nextword.quant`).
"""

import numba
import numpy as np
import torch
from llvmlite import ir
from numba import types
from numba.core.extending import intrinsic, overload
from torch import Tensor

# Threads only where the code says `prange`: Numba's search for other parallel work doubles the time of compilation.
ONLY_PRANGE = {
    "prange": True,
    "comprehension": False,
    "reduction": False,
    "inplace_binop": False,
    "setitem": False,
    "numpy": False,
    "stencil": False,
    "fusion": False,
}
SINGLE = np.empty(0, np.float32)
HALF = np.empty(0, np.uint16)
KINDS = {
    torch.bfloat16: HALF,
    torch.float32: SINGLE,
    torch.int8: np.empty(0, np.int8),
    torch.uint8: np.empty(0, np.uint8),
}
NAMES = {torch.bfloat16: "bf16", torch.float32: "fp32", torch.int8: "int8", torch.uint8: "int4"}


def address(tensor: Tensor) -> int:
    """Where the numbers of a contiguous CPU tensor begin; whoever keeps the address must keep the tensor."""
    assert tensor.is_contiguous() and tensor.device.type == "cpu"
    return tensor.data_ptr()


@intrinsic
def bits_as_float(context, bits):
    """float32 with the given 32 bits."""

    def generate(context, builder, signature, arguments):
        return builder.bitcast(arguments[0], ir.FloatType())

    return types.float32(types.uint32), generate


@intrinsic
def _pointer(context, place, kind):
    """An address as a pointer to numbers of the type of `kind`."""

    def generate(context, builder, signature, arguments):
        return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))

    return types.CPointer(kind.dtype)(types.int64, kind), generate


@numba.njit(inline="always")
def vector(place, length, kind):
    """The `length` numbers that begin at address `place`, as an array (no copy)."""
    return numba.carray(_pointer(place, kind), (length,))


@numba.njit(nogil=True, error_model="numpy", inline="never")
def held(arrays):
    """Nothing: what it is called with after a loop is kept until then, though the loop has its addresses alone."""


def widen(number):
    """A stored number (bf16 bits or float32) as float32; exists only inside compiled code."""
    raise NotImplementedError


@overload(widen)
def _widen(number):
    if number == types.uint16:
        return lambda number: bits_as_float(np.uint32(number) << np.uint32(16))
    return lambda number: number
