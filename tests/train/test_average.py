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
from nextword.train.average import Average, share_of
from nextword.train.folder import Summary
from nextword.train.precision import Weights
from nextword.train.pretrain import Text
from nextword.train.settings import TrainSettings
from nextword.train.validation import Validation

Pretrain = Callable[..., Summary]
SIZES = ModelSettings(width=16, depth=1, heads=2)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_formula(precision: str) -> None:
    model = create(SIZES, 16, 1)
    weights = Weights(model, precision)
    average = Average(weights, share_of(TrainSettings(ema=0.3)))
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


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_tail_by_hand(precision: str) -> None:
    """Of 5 steps the last 60 %, three: a weight that is w + 1, w + 3, w + 6, w + 10, w + 15 has the mean w + 31 / 3."""
    model = create(SIZES, 16, 1)
    weights = Weights(model, precision)
    average = Average(weights, share_of(TrainSettings(steps=5, tail=0.6)))
    first = weights.masters["norm.weight"].detach().double().clone()
    for step, wanted in enumerate((1, 3, 6, 8, 31 / 3)):
        with torch.no_grad():
            weights.masters["norm.weight"].add_(step + 1)
        average.update(step)
        torch.testing.assert_close(average.tensors["norm.weight"].double(), first + wanted, atol=1e-5, rtol=0)


def test_before_the_tail_the_mean_is_the_weights_to_the_bit() -> None:
    weights = Weights(create(SIZES, 16, 1), "fp32")
    average = Average(weights, share_of(TrainSettings(steps=5, tail=0.4)))
    for step in range(4):
        with torch.no_grad():
            for master in weights.masters.values():
                master.mul_(1.1)
        average.update(step)
        assert all(torch.equal(average.tensors[name], master) for name, master in weights.masters.items())


@pytest.mark.parametrize("how", [{}, {"precision": "bf16"}, {"eval_every": 0}], ids=str)
@pytest.mark.parametrize("mean", [{"ema": 0.9}, {"tail": 0.6}], ids=str)
def test_interrupted_equals_uninterrupted(pretrain: Pretrain, tmp_path: Path, mean: dict, how: dict) -> None:
    whole, parts, plain = (tmp_path / name for name in ("whole", "parts", "plain"))
    pretrain(whole, **mean, **how)
    for stop in (2, 3):  # of 8 steps: before a tail of five has begun, and within it
        with pytest.raises(KeyboardInterrupt):
            pretrain(parts, **mean, stop=stop, **how)
    pretrain(parts, **mean, **how)
    pretrain(plain, **how)
    models = [(out / "model" / "model.safetensors").read_bytes() for out in (whole, parts, plain)]
    assert models[0] == models[1] != models[2]
    losses = [[line["loss"] for line in log.read(out / "log.jsonl")] for out in (whole, parts, plain)]
    assert losses[0] == losses[1] == losses[2]  # training itself does not see the mean


@pytest.mark.parametrize("mean", [{"ema": 0.9}, {"tail": 0.5}], ids=str)
def test_the_validation_loss_is_that_of_the_finished_model(
    pretrain: Pretrain, text: Text, tmp_path: Path, mean: dict
) -> None:
    summary = pretrain(tmp_path / "run", **mean, steps=30, learning_rate=0.02, schedule="constant")
    model = load_model(tmp_path / "run" / "model")
    found = Validation(text.validation, NextToken(), 12, 60, 4).loss(model, torch.device("cpu"))
    assert found == pytest.approx(summary.validation_loss, abs=1e-6)
    current = load_model(tmp_path / "run" / "checkpoints" / "step-00000030" / "model")  # what training goes on from
    assert Validation(text.validation, NextToken(), 12, 60, 4).loss(current, torch.device("cpu")) != found


def test_the_finished_model_is_the_mean_of_the_last_steps(pretrain: Pretrain, tmp_path: Path) -> None:
    pretrain(tmp_path / "run", tail=0.375, eval_every=0, checkpoint_every=1, keep=8)
    folders = [tmp_path / "run" / "checkpoints" / f"step-0000000{step}" / "model" for step in (6, 7, 8)]
    states = [load_model(folder).state_dict() for folder in folders]
    for name, tensor in load_model(tmp_path / "run" / "model").state_dict().items():
        mean = torch.stack([state[name].double() for state in states]).mean(0)
        torch.testing.assert_close(tensor.double(), mean, atol=1e-7, rtol=0)
