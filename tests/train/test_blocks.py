"""Recomputed activations give the same gradients; a compiled model learns as one that is not."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from nextword.core import log
from nextword.core.errors import SettingsError
from nextword.data.labelled import Labelled
from nextword.models.create import create
from nextword.models.settings import ModelSettings
from nextword.objectives.next_token import NextToken
from nextword.train import blocks
from nextword.train.folder import Summary

Pretrain = Callable[..., Summary]


def gradients(sizes: dict, again: bool) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)  # of dropout
    model = create(ModelSettings(**sizes), 16, 1).train()
    if again:
        blocks.recompute(model)
    ids_BT = torch.randint(16, (3, 9), generator=torch.Generator().manual_seed(2))
    kept: list[int] = []

    def count(tensor: torch.Tensor) -> torch.Tensor:
        kept.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        loss = NextToken()(model, Labelled(ids_BT[:, :-1], ids_BT[:, 1:]))["next_token"].total
    loss.backward()
    found = {name: tensor.grad for name, tensor in model.named_parameters()}
    return found | {"numbers kept": torch.tensor(sum(kept))}


@pytest.mark.parametrize(
    "sizes",
    [
        {"width": 16, "depth": 3, "heads": 2, "dropout": 0.3},
        {"family": "gpt2", "width": 16, "depth": 2, "heads": 2, "max_length": 16, "dropout": 0.1},
    ],
    ids=str,
)
def test_recomputed_gradients_are_the_same_bits_and_less_is_kept(sizes: dict) -> None:
    wanted, found = gradients(sizes, False), gradients(sizes, True)
    assert found.pop("numbers kept") < wanted.pop("numbers kept") / 2
    assert wanted.keys() == found.keys()
    for name, gradient in wanted.items():
        assert torch.equal(found[name], gradient), name


def test_what_has_no_blocks_is_refused(pretrain: Pretrain, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="this model has no blocks: leave it out"):
        pretrain(tmp_path / "run", family="lstm", sizes={"width": 8, "depth": 1}, recompute=True)
    assert not (tmp_path / "run" / "settings.json").exists()


def test_where_nothing_compiles_a_note_says_so(
    pretrain: Pretrain, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*arguments: object) -> None:
        raise RuntimeError("no compiler\nat all")

    pretrain(tmp_path / "plain")
    monkeypatch.setattr(torch, "compile", fails)
    pretrain(tmp_path / "run", compile=True)
    error = capsys.readouterr().err
    assert "train.compile has no effect: torch.compile does not work here (RuntimeError: no compiler)" in error
    same = [(tmp_path / name / "model" / "model.safetensors").read_bytes() for name in ("plain", "run")]
    assert same[0] == same[1]


@pytest.mark.slow  # compiling takes a minute
def test_a_compiled_model_learns_the_same(pretrain: Pretrain, tmp_path: Path) -> None:
    for name, compiled in (("plain", False), ("compiled", True)):
        pretrain(tmp_path / name, compile=compiled)
    plain, compiled = (log.read(tmp_path / name / "log.jsonl") for name in ("plain", "compiled"))
    assert [line["loss"] for line in compiled] == pytest.approx([line["loss"] for line in plain], abs=1e-5)
