"""8-bit AdamW: the code table, the rounding, its size, and that it stays near AdamW."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from nextword.nn.kernels import adamw8bit as kernel
from nextword.train.optimizers import adamw8bit
from nextword.train.optimizers.adamw import AdamW
from nextword.train.optimizers.adamw8bit import AdamW8bit, compiled, plain_blocks
from nextword.train.quantised import BLOCK, Quantised, dynamic_values
from nextword.train.settings import TrainSettings

Steps = Callable[..., dict[str, np.ndarray]]
CPU = torch.device("cpu")


@pytest.mark.parametrize("signed", [True, False])
def test_the_code_table(signed: bool) -> None:
    """Every power of ten in its parts, counted out by hand from the bits."""
    values = dynamic_values(signed).double().numpy()
    assert len(np.unique(values)) == 256 and (np.diff(values) > 0).all()
    for zeros in range(7):  # leading zeros after the sign
        parts = 2 ** (6 - zeros) * (1 if signed else 2)
        width = 0.9 / parts
        expected = 10.0**-zeros * (0.1 + width * (np.arange(parts) + 0.5))
        inside = values[(values > 10.0 ** (-zeros - 1)) & (values < 10.0**-zeros)]
        np.testing.assert_allclose(inside, expected, rtol=1e-6)
    negative = values[values < 0]
    np.testing.assert_array_equal(-negative[::-1], values[(values > 0) & (values < 1)] if signed else [])


@pytest.mark.parametrize("signed", [True, False])
def test_the_nearest_code_of_each_block(draw: np.random.Generator, signed: bool) -> None:
    x = draw.normal(size=(3, BLOCK)) * np.array([[1e-20], [1.0], [1e6]]) * 10.0 ** draw.uniform(-6, 0, (3, BLOCK))
    x = torch.tensor(x if signed else np.abs(x), dtype=torch.float32)
    x[1, 7:9] = 0.0
    stored = Quantised(3 * BLOCK, signed, CPU)
    assert not stored.read().any()  # a new one holds zeros
    stored.write(x)
    largest = x.abs().amax(1, keepdim=True)
    distance = (x.double() / largest).unsqueeze(-1) - dynamic_values(signed)
    off = (stored.read().double() - x).abs() / largest
    torch.testing.assert_close(off, distance.abs().amin(-1), rtol=1e-5, atol=1e-6)
    assert not stored.read()[1, 7:9].any()


def test_zeros_stay_zeros() -> None:
    stored = Quantised(300, True, CPU)
    stored.write(torch.zeros(2, BLOCK))
    assert torch.equal(stored.read(), torch.zeros(2, BLOCK))


def rounded(x: np.ndarray, signed: bool) -> np.ndarray:
    """Each 256 numbers to the nearest codes, one by one."""
    values, found = dynamic_values(signed).double().numpy(), np.zeros(x.size)
    for start in range(0, x.size, 256):
        block = x.ravel()[start : start + 256]
        scale = np.abs(block).max()
        found[start : start + 256] = [scale * values[np.abs(values - number / scale).argmin()] for number in block]
    return found.reshape(x.shape)


@pytest.mark.parametrize("form", [compiled, plain_blocks])
def test_by_hand(
    steps: Steps, draw: np.random.Generator, monkeypatch: pytest.MonkeyPatch, form: Callable[..., None]
) -> None:
    """Dettmers et al. 2022: m and v are rounded between two steps, the update is made from those not yet rounded."""
    monkeypatch.setattr(adamw8bit, "compiled", form)
    start = draw.normal(size=(70, 59))  # 4,130 numbers: the last block is short
    gradients = [draw.normal(size=start.shape) for _ in range(3)]
    found = steps({"a": start}, {"a": gradients}, {"a": "hidden"}, optimizer="adamw8bit", betas=(0.8, 0.9),
                  weight_decay=0.5, eps=1e-4)["a"]  # fmt: skip
    weight, m, v = start, np.zeros_like(start), np.zeros_like(start)
    for t, g in enumerate(gradients, 1):
        m, v = 0.8 * m + 0.2 * g, 0.9 * v + 0.1 * g**2
        weight = weight * (1 - 0.1 * 0.5)
        weight = weight - 0.1 * m / (1 - 0.8**t) / (np.sqrt(v / (1 - 0.9**t)) + 1e-4)
        m, v = rounded(m, True), rounded(v, False)
    off = np.abs(found - weight)
    assert np.quantile(off, 0.99) < 1e-5 and off.max() < 0.02  # a number halfway between two codes may go either way


def test_small_tensors_and_tables_are_adamws(steps: Steps, draw: np.random.Generator) -> None:
    start = {"table": draw.normal(size=(80, 60)), "small": draw.normal(size=(60, 60)), "gain": draw.normal(size=60)}
    roles = {"table": "table", "small": "hidden", "gain": "vector"}
    gradients = {name: [draw.normal(size=value.shape) for _ in range(2)] for name, value in start.items()}
    ours = steps(start, gradients, roles, optimizer="adamw8bit")
    theirs = steps(start, gradients, roles, optimizer="adamw")
    for name, value in theirs.items():
        np.testing.assert_array_equal(ours[name], value)


def test_a_quarter_of_the_memory() -> None:
    tensors, roles = {"a": torch.zeros(512, 128), "b": torch.zeros(384, 128)}, {"a": "hidden", "b": "hidden"}
    sizes = [
        sum(tensor.nbytes for tensor in make(tensors, TrainSettings(), roles).state().values())
        for make in (AdamW8bit, AdamW)
    ]
    assert sizes[0] <= 0.26 * sizes[1]


@pytest.mark.parametrize("signed", [True, False])
def test_the_compiled_form_finds_the_nearest_code(draw: np.random.Generator, signed: bool) -> None:
    """Of numbers of every size, and of the boundaries and their neighbours."""
    stored = Quantised(BLOCK, signed, CPU)
    middles = stored.middles.numpy()
    beside = np.concatenate([middles, np.nextafter(middles, np.float32(2)), np.nextafter(middles, np.float32(-2))])
    x = np.concatenate([beside, 10.0 ** draw.uniform(-9, 0, 5000), [0.0, 1.0]]).astype(np.float32)
    x = np.concatenate([x, -x]) if signed else np.abs(x)
    codes = np.zeros(len(x), np.uint8)
    kernel.write(x, np.float32(1), codes, stored.cells, middles)
    np.testing.assert_array_equal(codes, np.searchsorted(middles, x))
