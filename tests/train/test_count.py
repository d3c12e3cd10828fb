"""Counting goes through the same folder: model, log, summary; a finished one is recognised."""

import json
from pathlib import Path

import pytest

from nextword.core import log
from nextword.core.errors import SettingsError
from nextword.models.checkpoint import load_model, write_model
from nextword.models.create import create
from nextword.models.settings import ModelSettings
from nextword.train import count
from nextword.train.folder import Summary
from nextword.train.pretrain import ModelFiles, Text
from nextword.train.settings import TrainSettings

FILES = ModelFiles(lambda folder, model: write_model(model, folder), load_model)


def run(text: Text, out: Path, order: int = 2, **changes: object) -> Summary:
    model = create(ModelSettings(family="ngram", order=order), 16, 0)
    settings = TrainSettings(length=12, eval_tokens=60, **changes)
    return count.pretrain(model, text, settings, out, FILES, depends={"order": order}, quiet=True)


def test_counts_text_into_a_model_folder(text: Text, tmp_path: Path) -> None:
    summary = run(text, tmp_path / "run")
    assert (summary.ended, summary.steps, summary.tokens) == ("finished", 1, 600)
    assert 1.0 < summary.validation_loss < 1.5  # ln 3 = 1.10 is all that can be known
    [line] = log.read(tmp_path / "run" / "log.jsonl")
    assert line["validation_loss"] == summary.validation_loss and line["loss"] == summary.loss
    assert load_model(tmp_path / "run" / "model").vocab_size == 16
    assert json.loads((tmp_path / "run" / "settings.json").read_text())["resolved"]["precision"] == "counts"


def test_again_is_the_same_and_another_is_refused(text: Text, tmp_path: Path) -> None:
    first = run(text, tmp_path / "run")
    assert run(text, tmp_path / "run", steps=77) == first  # steps mean nothing to counts
    with pytest.raises(SettingsError, match="order was 2, now 3"):
        run(text, tmp_path / "run", order=3)


def test_half_done_is_done_again(text: Text, tmp_path: Path) -> None:
    first = run(text, tmp_path / "run")
    model = (tmp_path / "run" / "model" / "model.safetensors").read_bytes()
    (tmp_path / "run" / "summary.json").unlink()  # as after a kill
    again = run(text, tmp_path / "run")
    assert again.validation_loss == first.validation_loss
    assert (tmp_path / "run" / "model" / "model.safetensors").read_bytes() == model
    assert len(log.read(tmp_path / "run" / "log.jsonl")) == 1
