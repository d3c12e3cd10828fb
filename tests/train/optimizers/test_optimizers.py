"""All optimizers: they learn, go on where they stopped, and refuse settings that they do not follow."""

from collections.abc import Callable
from pathlib import Path

import pytest

from nextword.core import log
from nextword.core.errors import SettingsError
from nextword.core.registry import names
from nextword.train.folder import Summary
from nextword.train.optimizer import OPTIONS, PACKAGE, check, honours
from nextword.train.settings import TrainSettings

Pretrain = Callable[..., Summary]
ROLES = {"table": "table", "matrix": "hidden", "gain": "vector"}
UNTIED = {"tied": False}
KINDS = [
    {"optimizer": "muon"},
    {"optimizer": "muon", "muon_every": 3, "muon_normalised": True, "cautious_decay": True, "sparse_tables": True,
     "sizes": UNTIED},
    {"optimizer": "muon", "muon_scale": "shape", "muon_steps": 3, "precision": "bf16"},
    {"optimizer": "lion", "cautious_decay": True},
    {"optimizer": "adafactor", "sizes": UNTIED},
    {"optimizer": "adamw8bit", "sizes": {"width": 64, "heads": 2}},
    {"optimizer": "adamw", "sparse_tables": True, "cautious_decay": True, "sizes": UNTIED},
]  # fmt: skip


@pytest.mark.parametrize("how", KINDS, ids=lambda how: "-".join(map(str, how.values())))
def test_interrupted_equals_uninterrupted(pretrain: Pretrain, tmp_path: Path, how: dict) -> None:
    pretrain(tmp_path / "whole", **how)
    for stop in (2, 2):  # after steps 2 and 4, neither of which is a third one
        with pytest.raises(KeyboardInterrupt):
            pretrain(tmp_path / "parts", stop=stop, **how)
    pretrain(tmp_path / "parts", **how)
    lines = [[line["loss"] for line in log.read(tmp_path / run / "log.jsonl")] for run in ("whole", "parts")]
    assert len(lines[0]) == 8 and lines[0] == lines[1]
    weights = [(tmp_path / run / "model" / "model.safetensors").read_bytes() for run in ("whole", "parts")]
    assert weights[0] == weights[1]


RATES = (0.02, 0.02, 0.02, 0.005, 0.1, 0.02, 0.02)


@pytest.mark.parametrize(("how", "rate"), list(zip(KINDS, RATES, strict=True)), ids=str)
def test_the_loss_falls(pretrain: Pretrain, tmp_path: Path, how: dict, rate: float) -> None:
    """ln 16 = 2.77 at first, ln 3 = 1.10 is all that can be known."""
    summary = pretrain(tmp_path / "run", **{"steps": 60, "learning_rate": rate, "eval_every": 20, **how})
    assert summary.validation_loss < 1.6


def test_8_bits_lose_little(pretrain: Pretrain, tmp_path: Path) -> None:
    settings = {"steps": 60, "learning_rate": 0.005, "eval_every": 20, "sizes": {"width": 64, "heads": 2}}
    found = [pretrain(tmp_path / name, optimizer=name, **settings).validation_loss for name in ("adamw8bit", "adamw")]
    assert found[0] != found[1] and found[0] == pytest.approx(found[1], abs=0.03)


OTHER = {"betas": (0.8, 0.9), "eps": 1e-6, "weight_decay": 0.2, "cautious_decay": True, "sparse_tables": True,
         "muon_rate": 0.1, "muon_momentum": 0.9, "muon_scale": "shape", "muon_steps": 4, "muon_every": 2,
         "muon_normalised": True, "table_rate": 0.1}  # fmt: skip


@pytest.mark.parametrize("optimizer", names(PACKAGE))
def test_settings_without_effect_are_refused(optimizer: str) -> None:
    assert set(OTHER) == set(OPTIONS)
    roles = ROLES | {"head": "output"}
    for option, value in OTHER.items():
        settings = TrainSettings(optimizer=optimizer, **{option: value})
        if option in honours(optimizer):
            check(settings, roles, False)
        else:
            with pytest.raises(
                SettingsError, match=rf"train\.{option} has no effect with train\.optimizer={optimizer}"
            ):
                check(settings, roles, False)


@pytest.mark.parametrize("optimizer", ["muon", "adafactor", "adamw8bit"])
def test_rows_of_a_matrix_are_not_enough(optimizer: str) -> None:
    with pytest.raises(SettingsError, match=r"needs whole matrices.*--train.parallel=ddp"):
        check(TrainSettings(optimizer=optimizer), ROLES, True)


@pytest.mark.parametrize("optimizer", ["adamw", "lion"])
def test_rows_of_a_matrix_are_enough(optimizer: str) -> None:
    check(TrainSettings(optimizer=optimizer), ROLES, True)


def test_what_cannot_take_effect_in_this_model(pretrain: Pretrain, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"train.sparse_tables has no effect: this model's only .*model.tied=false"):
        pretrain(tmp_path / "run", sparse_tables=True)
    check(TrainSettings(sparse_tables=True), {"tied": "table", "hashed n-grams": "table"}, False)
    with pytest.raises(SettingsError, match="muon is for hidden matrices, and this model has none"):
        check(TrainSettings(optimizer="muon"), {"table": "table"}, False)
    assert not (tmp_path / "run" / "settings.json").exists()
