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
from nextword.nn.kernels import rows, whole
from nextword.quant import format as formats
from nextword.quant.formats import int4

draw = np.random.default_rng(0)
for width in (32, 96, 320, 640, 4224):  # scales by eights and some left; the last has more than fit on the stack
    x = draw.normal(size=(4, width)).astype(np.float32) * draw.choice([0.01, 1, 30], size=width).astype(np.float32)
    x[:, 1] = 0
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
        place, y = lambda array: array.ctypes.data, np.empty(4, np.float32)
        each_row = [(place(q[n]), place(corrections[n]), place(by[n])) for n in range(4)]
        whole_rows = place(q), place(corrections), place(by), place(y)
        found, block = [], np.empty(4, np.float32)
        if bits == 8:
            rows.dots_int8(place(codes), stored, *whole_rows[:3], full[0], place(y))
            rows.block_int8((place(codes), stored, place(full), 4), stored, each_row[0], place(block), 1)
            found += [y, np.array([rows.dot_int8(place(codes), stored, *row, full[0]) for row in each_row])]
        else:
            scales = halves.view(torch.uint16).numpy()
            four = place(codes), place(scales), s.shape[1]
            rows.dots_int4(*four, *whole_rows, shift)
            weights = four[0], stored // 2, four[1], scales.strides[0]
            rows.block_int4(weights, four[2], each_row[0], place(block), 1, shift)
            found += [y, np.array([rows.dot_int4(*four, *row, shift) for row in each_row])]
        for one in found:
            assert (np.abs(one - wanted[:, 0]) <= 1e-6 * size[:, 0]).all(), (width, bits, shift, one, wanted)
        assert np.array_equal(*found) and block[0] == y[0], "another order of sums"
        assert (np.abs(block - wanted[0]) <= 1e-6 * size[0]).all(), (width, bits, shift, block, wanted)
print("same", sum(code.count("vpdpbusd") for code in rows.dot_int8.inspect_asm().values()),
      sum(code.count("vpmaddubsw") for code in rows.dot_int4.inspect_asm().values()))
"""
# what vpdpbusd does, in plain LLVM: sums of four products of bytes without and with a sign, exactly
EMULATED = """
from llvmlite import ir
from numba.core import config
wide = ir.VectorType(ir.IntType(32), 32)
def instruction(builder, start, unsigned, signed):
    return builder.add(start, lanes._wide(builder, builder.zext(unsigned, wide), signed))
lanes.vnni, lanes._vnni = (lambda: True), instruction
"""
COMPILED = """
from nextword.nn.kernels import rows
from numba import types
rows.dot_int8.compile((types.int64,) * 5 + (types.float32,))
rows.dot_int4.compile((types.int64,) * 7)
for one in (rows.dot_int8, rows.dot_int4):
    print(sum(code.count("vpdpbusd") for code in one.inspect_asm().values()) >= 4)
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
