"""Blocks of quantised weights against the reference of llama.cpp's own Python package."""

import numpy as np
import pytest
import torch

from nextword.core.errors import CheckpointError
from nextword.models.gguf.blocks import FORMATS, Format, to_bytes, to_tensor

gguf = pytest.importorskip("gguf")
BLOCKS = 600


def random_blocks(kind: Format) -> np.ndarray:
    """Random bytes, but scales and minima that are finite, zero among them."""
    rng = np.random.default_rng(kind.number)
    raw = rng.integers(0, 256, (BLOCKS, kind.size), dtype=np.uint8)
    halves = rng.normal(0, 0.1, (BLOCKS, 2)).astype(np.float16)
    halves[::50] = 0
    if kind.name == "q6_k":
        raw[:, 208:] = halves[:, :1].view(np.uint8)
    else:
        raw[:, :2] = halves[:, :1].copy().view(np.uint8)
        if kind.name in {"q4_1", "q5_1", "q4_k", "q5_k"}:
            raw[:, 2:4] = halves[:, 1:].copy().view(np.uint8)
    return raw


@pytest.mark.parametrize("name", [name for name, kind in FORMATS.items() if kind.read])
def test_reading_gives_the_numbers_of_the_reference_bit_by_bit(name: str) -> None:
    kind = FORMATS[name]
    raw = random_blocks(kind)
    wanted = gguf.quants.dequantize(raw, gguf.GGMLQuantizationType(kind.number))
    found = to_tensor(raw.tobytes(), kind, (BLOCKS, kind.block)).numpy()
    assert np.array_equal(found.view(np.uint32), wanted.view(np.uint32))
    assert len(np.unique(found)) > 1000


@pytest.mark.parametrize("name", ["f32", "f16", "bf16", "q8_0", "q4_0"])
def test_writing_gives_the_bytes_of_the_reference(name: str) -> None:
    kind = FORMATS[name]
    x = np.random.default_rng(0).normal(0, 0.1, (BLOCKS, 64)).astype(np.float32)
    x[7], x[8, :32], x[9] = 0, 1e-30, np.round(x[9] * 8) / 8  # nothing, next to nothing, ties
    wanted = gguf.quants.quantize(x, gguf.GGMLQuantizationType(kind.number)).tobytes()
    written = to_bytes(torch.from_numpy(x), kind)
    assert written == wanted
    back = to_tensor(written, kind, x.shape).float().numpy()
    steps = {"f32": 0, "f16": 2**-11, "bf16": 2**-8, "q8_0": 0.57 / 127, "q4_0": 1.01 / 8}
    largest = np.abs(x).reshape(-1, 32).max(axis=1).repeat(32).reshape(x.shape)
    assert (np.abs(back - x) <= steps[name] * largest + 1e-7).all()


@pytest.mark.parametrize("name", ["q8_0", "q4_0"])
def test_what_was_read_is_written_with_the_same_bytes(name: str) -> None:
    kind = FORMATS[name]
    first = to_bytes(torch.randn(BLOCKS, 32, generator=torch.Generator().manual_seed(1)), kind)
    assert to_bytes(to_tensor(first, kind, (BLOCKS, 32)), kind) == first


def test_sizes_are_those_of_the_reference() -> None:
    for kind in FORMATS.values():
        assert (kind.block, kind.size) == gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType(kind.number)]


def test_what_a_format_cannot_hold_is_refused() -> None:
    large = torch.full((1, 32), 1e9)
    with pytest.raises(CheckpointError, match="choose f32 or bf16"):
        to_bytes(large, FORMATS["f16"])
    with pytest.raises(CheckpointError, match="choose f32 or bf16"):
        to_bytes(large, FORMATS["q8_0"])
    with pytest.raises(CheckpointError, match="it writes f32"):
        to_bytes(torch.zeros(1, 256), FORMATS["q4_k"])
