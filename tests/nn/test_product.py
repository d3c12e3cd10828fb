"""Products of few rows with stored weights: every format, every way of the processor, against exact sums.

Numba decides once a process what code is compiled for, so each way has a process of its own.
"""

import os
import subprocess
import sys

import pytest

CHECK = """
import numpy as np, torch
from nextword.nn.kernels import lanes
{patch}
from nextword.nn.kernels import product, rows, whole
from nextword.quant import format as formats
from nextword.quant.formats import int4

draw, TILES = np.random.default_rng(0), {"four": (rows.TALL, 4), "two": (4, 2), "one": (4, 1), "single": (1, 1)}
for width in (32, 96, 320, 640, 4224):  # scales by eights and some left; the last has more than fit on the stack
    x = draw.normal(size=(4, width)).astype(np.float32) * draw.choice([0.01, 1, 30], size=width).astype(np.float32)
    x[:, 1] = 0
    halves = torch.from_numpy(draw.normal(size=(4, width + 5)).astype(np.float32)).bfloat16()[:, :width + 5 - width % 3]
    halves, more = halves.contiguous(), np.pad(x, ((0, 0), (0, 5 - width % 3))) + 1
    wanted, size = more @ halves.double().numpy().T, np.abs(more) @ halves.double().abs().numpy().T
    for name, (high, wide) in TILES.items():
        y, w, ordered = np.empty((4, 4), np.float32), halves.view(torch.uint16).numpy(), product.apart(more)
        for r in range(0, 4, high):
            for n in range(0, 4, wide):
                of = w.ctypes.data + r * w.strides[0], w.strides[0], ordered.ctypes.data + n * ordered.strides[0]
                getattr(rows, f"{name}_bf16")(*of, w.shape[1], y.ctypes.data + (r * 4 + n) * 4, 4)
        assert (np.abs(y.T - wanted) <= 1e-6 * size).all(), (width, name, y, wanted)
    for bits, shift in ((8, 0), (4, 5), (4, 6), (4, 7), (4, 8)):
        form = formats.find(bits)
        stored = form.padded(width)
        w = draw.integers(form.lowest, form.highest + 1, (4, width)).astype(np.int8)
        w[0, :3] = form.lowest, form.highest, form.lowest
        codes = formats.store(torch.from_numpy(w), form).numpy()
        q, s = whole.whole_numbers(x, stored)
        corrections, by = whole.lane_corrections(q), s
        if bits == 4:
            corrections, by = whole.group_corrections(q, s, min(1 << shift, 64))
        near = (q * np.repeat(s, 64, 1))[:, :width].astype(np.float64)
        assert np.abs(q).max() == 127 and np.abs(near - x).max() <= 0.501 * s.max()
        halves = torch.from_numpy(draw.uniform(0.5, 2, (4, -(-stored // (1 << shift)))).astype(np.float32)).bfloat16()
        full = np.array([3, 0.7, 1, 2], np.float32)
        each = np.repeat(halves.double().numpy(), 1 << shift, 1)[:, :width]
        each = np.tile(full[:, None], width) if bits == 8 else each
        wanted, size = near @ (w * each).T, np.abs(near) @ np.abs(w * each).T  # by row of x, then of w
        place = lambda array: array.ctypes.data
        each_row = [(place(q[n]), place(corrections[n]), place(by[n])) for n in range(4)]
        kind, scales, own = "int8", full, 4
        if bits == 4:
            kind, own = "int4", halves.shape[1] * 2
            scales = np.concatenate((halves.view(torch.uint16).numpy().ravel(), np.full(8, 0x3F80, np.uint16)))
        length, more = (stored, ()) if bits == 8 else (s.shape[1], (shift,))
        found = {name: np.empty((4, 4), np.float32) for name in TILES}  # by row of w, then of x
        for name, y in found.items():
            high, wide = TILES[name]
            tile = getattr(rows, f"{name}_{kind}")
            for r in range(0, 4, high):
                for n in range(0, 4, wide):
                    weights = place(codes) + r * codes.strides[0], codes.strides[0], place(scales) + r * own, own
                    tile(weights, length, each_row[n], place(y) + (r * 4 + n) * 4, 4, *more)
        for name, y in found.items():
            assert (np.abs(y.T - wanted) <= 1e-6 * size).all(), (width, bits, shift, name, y, wanted)
            assert np.array_equal(y, found["single"]), f"{name} adds in another order"
print("same", sum(code.count("vpdpbusd") for code in rows.single_int8.inspect_asm().values()),
      sum(code.count("vpmaddubsw") for code in rows.single_int4.inspect_asm().values()))
"""
# what vpdpbusd does, in plain LLVM: sums of four products of bytes without and with a sign, exactly
EMULATED = """
from llvmlite import ir
from numba.core import config
all_four = ir.VectorType(ir.IntType(32), 32)
def instruction(builder, start, unsigned, signed):
    return builder.add(start, lanes._wide(builder, builder.zext(unsigned, all_four), signed))
lanes.vnni, lanes._vnni = (lambda: True), instruction
"""
COMPILED = """
from nextword.nn.kernels import rows
from numba import types
whole = types.int64
weights, numbers = types.UniTuple(whole, 4), types.UniTuple(whole, 3)
rows.four_int8.compile((weights, whole, numbers, whole, whole))
rows.four_int4.compile((weights, whole, numbers, whole, whole, whole))
for one in (rows.four_int8, rows.four_int4):
    print(sum(code.count("vpdpbusd") for code in one.inspect_asm().values()) >= 32)
"""
# of a processor with VNNI, as far as it matters here
VNNI = "+avx,+avx2,+fma,+avx512f,+avx512bw,+avx512dq,+avx512vl,+avx512vnni"


def run(code: str, **environment: str) -> str:
    whole = {**os.environ, "NUMBA_NUM_THREADS": "1", **environment}
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=whole, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_this_processor() -> None:
    assert run(CHECK.replace("{patch}", "")).startswith("same")


def test_a_processor_without_such_instructions() -> None:
    assert run(CHECK.replace("{patch}", ""), NUMBA_CPU_NAME="generic", NUMBA_CPU_FEATURES="").split() == [
        "same",
        "0",
        "0",
    ]


def test_the_arithmetic_around_vnni() -> None:
    assert run(CHECK.replace("{patch}", EMULATED)).startswith("same")


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="instructions of x86")
def test_vnni_is_used_where_there_is_one() -> None:
    """Compiled for another processor, and looked at: not run."""
    assert run(COMPILED, NUMBA_CPU_NAME="icelake-server", NUMBA_CPU_FEATURES=VNNI).split() == ["True", "True"]
