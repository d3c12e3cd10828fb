"""Masters keep what 16 bits would lose; auto follows the measured rates; the scale of fp16 adapts."""

import math

import pytest
import torch

from nextword.core.errors import SettingsError
from nextword.train import precision
from nextword.train.precision import Weights, choose

CPU = torch.device("cpu")


@pytest.mark.parametrize("bf16, expected", [(820e9, "bf16"), (0.7e9, "fp32"), (120e9, "fp32")])
def test_auto_follows_the_measured_rates(monkeypatch: pytest.MonkeyPatch, bf16: float, expected: str) -> None:
    rates = {"fp32": 100e9, "bf16": bf16}
    monkeypatch.setattr(precision, "product_rate", lambda name, device: rates[name])
    choice = choose("auto", CPU)
    assert choice.precision == expected and "GFLOP/s" in choice.why
    assert choose("bf16", CPU).precision == "bf16"


def test_fp16_needs_a_gpu() -> None:
    with pytest.raises(SettingsError, match="needs a GPU"):
        choose("fp16", CPU)


def test_masters_add_up_updates_that_bf16_would_round_away() -> None:
    model = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.ones_(model.weight)
    weights = Weights(model, "bf16")
    for _ in range(100):
        weights.masters["weight"] -= 1e-3
        weights.publish()
    assert model.weight.dtype == torch.bfloat16 and model.weight.item() == torch.tensor(0.9).bfloat16().item()
    naive = torch.ones(1, dtype=torch.bfloat16)
    for _ in range(100):
        naive -= 1e-3
    assert naive.item() == 1.0  # what masters are for


def test_bf16_gradients_are_summed_in_fp32() -> None:
    model = torch.nn.Linear(1, 1, bias=False)
    weights = Weights(model, "bf16")
    for value in (1.0, *[2.0**-9] * 4):  # each small one alone would be lost beside 1 in bf16
        weights.backward(model(torch.full((1, 1), value, dtype=torch.bfloat16)).sum())
    assert weights.gradients()[0].item() == 1 + 4 * 2.0**-9
    assert model.weight.grad is None


def test_fp32_weights_are_their_own_masters() -> None:
    model = torch.nn.Linear(2, 2)
    weights = Weights(model, "fp32")
    assert weights.masters["weight"] is model.weight
    model(torch.ones(1, 2)).sum().backward()
    assert len(weights.gradients()) == 2
    weights.publish()
    assert model.weight.grad is None


def test_fp16_scales_the_loss_and_adapts() -> None:
    model = torch.nn.Linear(1, 1, bias=False)
    weights = Weights(model, "fp16")
    assert weights.scale == 65536
    weights.backward((model(torch.full((1, 1), 2.0**-20, dtype=torch.float16)).float() * 2.0**-8).sum())
    assert weights.gradients()[0].item() == pytest.approx(2.0**-28, rel=1e-3)  # below fp16's smallest number, 2^-24
    weights.adjust_scale(math.inf)
    assert weights.scale == 32768
    for _ in range(precision.GROWTH_STEPS):
        weights.adjust_scale(1.0)
    assert weights.scale == 65536
