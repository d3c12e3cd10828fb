"""The running mean of the weights: by its formula, in the finished model, and over an interruption."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from nextword.core import log
from nextword.models.checkpoint import load_model
from nextword.models.create import create
from nextword.models.settings import ModelSettings
from nextword.objectives.next_token import NextToken
from nextword.train.average import Average
from nextword.train.folder import Summary
from nextword.train.precision import Weights
from nextword.train.pretrain import Text
from nextword.train.validation import Validation

Pretrain = Callable[..., Summary]
SIZES = ModelSettings(width=16, depth=1, heads=2)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_formula(precision: str) -> None:
    model = create(SIZES, 16, 1)
    weights = Weights(model, precision)
    average = Average(weights, 0.3)
    name = "embedding.weight"
    wanted = weights.masters[name].detach().double().clone()
    for step in range(4):
        with torch.no_grad():
            for master in weights.masters.values():
                master.add_(step + 1)
        weights.publish()
        average.update(step)
        decay = min(0.3, (1 + step) / (10 + step))  # 0.1, 0.18, 0.25, 0.3
        wanted = decay * wanted + (1 - decay) * weights.masters[name].detach().double()
    torch.testing.assert_close(average.tensors[name].double(), wanted, atol=1e-6, rtol=0)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with average.standing_in():
        torch.testing.assert_close(model.state_dict()[name].double(), wanted, atol=1e-6, rtol=2**-8)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("how", [{}, {"precision": "bf16"}, {"eval_every": 0}], ids=str)
def test_interrupted_equals_uninterrupted(pretrain: Pretrain, tmp_path: Path, how: dict) -> None:
    whole, parts, plain = (tmp_path / name for name in ("whole", "parts", "plain"))
    pretrain(whole, ema=0.9, **how)
    for stop in (2, 3):
        with pytest.raises(KeyboardInterrupt):
            pretrain(parts, ema=0.9, stop=stop, **how)
    pretrain(parts, ema=0.9, **how)
    pretrain(plain, **how)
    models = [(out / "model" / "model.safetensors").read_bytes() for out in (whole, parts, plain)]
    assert models[0] == models[1] != models[2]
    losses = [[line["loss"] for line in log.read(out / "log.jsonl")] for out in (whole, parts, plain)]
    assert losses[0] == losses[1] == losses[2]  # training itself does not see the mean


def test_the_validation_loss_is_that_of_the_finished_model(pretrain: Pretrain, text: Text, tmp_path: Path) -> None:
    summary = pretrain(tmp_path / "run", ema=0.9, steps=30, learning_rate=0.02, schedule="constant")
    model = load_model(tmp_path / "run" / "model")
    found = Validation(text.validation, NextToken(), 12, 60, 4).loss(model, torch.device("cpu"))
    assert found == pytest.approx(summary.validation_loss, abs=1e-6)
    current = load_model(tmp_path / "run" / "checkpoints" / "step-00000030" / "model")  # what training goes on from
    assert Validation(text.validation, NextToken(), 12, 60, 4).loss(current, torch.device("cpu")) != found
