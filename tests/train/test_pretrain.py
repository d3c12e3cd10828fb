"""Pretraining into a folder: an interrupted run ends where an uninterrupted one ends, and refuses what it must."""

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from nextword.core import log
from nextword.core.errors import CheckpointError, DataError, ResourceError, SettingsError, TrainingError
from nextword.models.checkpoint import load_model
from nextword.models.create import create
from nextword.models.settings import ModelSettings
from nextword.objectives.next_token import NextToken
from nextword.train import checkpoint, folder
from nextword.train import pretrain as training
from nextword.train.folder import Summary
from nextword.train.image import Image
from nextword.train.lock import only_one
from nextword.train.pretrain import Text
from nextword.train.settings import TrainSettings
from nextword.train.validation import Validation

Pretrain = Callable[..., Summary]
SAME = ("step", "loss", "learning_rate", "grad_norm", "tokens", "validation_loss")  # of a log line; the rest is time


def losses(out: Path) -> list[tuple]:
    return [tuple(line.get(key) for key in SAME) for line in log.read(out / "log.jsonl")]


def weights(out: Path) -> bytes:
    return (out / "model" / "model.safetensors").read_bytes()


def assert_same(one: Path, other: Path) -> None:
    assert losses(one) == losses(other)
    assert weights(one) == weights(other)


# Rows and tokens of 8 steps: 0.5 + 3.5/6 of a row a step, 5 + 5 tokens a step to the nearest eight (20: down to 16).
GROWING = [(1, 8), (1, 8), (2, 16), (2, 16), (3, 24), (3, 32), (4, 32), (4, 40)]


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"precision": "bf16"},
        {"micro_batch": 3},
        {"sizes": {"dropout": 0.2}},
        {"eval_every": 0},
        {"batch_warmup": 6, "length_warmup": 7, "length": 40},
        {"family": "lstm", "sizes": {"width": 8, "depth": 1}},
    ],
    ids=str,
)
def test_interrupted_equals_uninterrupted(pretrain: Pretrain, tmp_path: Path, how: dict) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    summary = pretrain(whole, **how)
    for stop in (2, 3):
        with pytest.raises(KeyboardInterrupt):
            pretrain(parts, stop=stop, **how)
    resumed = pretrain(parts, **how)
    assert_same(whole, parts)
    tokens = 8 * 4 * 12 if "length_warmup" not in how else sum(rows * length for rows, length in GROWING)
    assert (summary.steps, summary.tokens, summary.ended) == (8, tokens, "finished")
    assert (resumed.steps, resumed.loss, resumed.validation_loss) == (8, summary.loss, summary.validation_loss)
    assert len(losses(whole)) == 8


def test_a_slow_copy_holds_the_next_update_back(
    pretrain: Pretrain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretrain(tmp_path / "whole")
    take = Image.take

    def slowly(image: Image, tensors: dict) -> None:
        time.sleep(0.2)  # several steps of this model: without waiting, they would change what is copied
        take(image, tensors)

    monkeypatch.setattr(Image, "take", slowly)
    for stop in (5, 2):
        with pytest.raises(KeyboardInterrupt):
            pretrain(tmp_path / "parts", stop=stop, checkpoint_every=1)
        shutil.rmtree(newest(tmp_path / "parts"))  # go on from one that was copied while training went on
    pretrain(tmp_path / "parts", checkpoint_every=1)
    assert_same(tmp_path / "whole", tmp_path / "parts")


def newest(out: Path) -> Path:
    return checkpoint.all_of(out)[-1]


def test_the_loss_falls(pretrain: Pretrain, tmp_path: Path) -> None:
    summary = pretrain(tmp_path / "run", steps=60, learning_rate=0.02, eval_every=20)
    assert losses(tmp_path / "run")[0][1] == pytest.approx(2.77, abs=0.1)  # ln 16 at first
    assert summary.validation_loss < 1.6  # ln 3 = 1.10 is all that can be known


def test_a_finished_run_is_recognised(pretrain: Pretrain, tmp_path: Path) -> None:
    first = pretrain(tmp_path / "run")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*") if path.name != ".lock"}
    assert pretrain(tmp_path / "run") == first
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_another_run_in_the_folder_is_refused_and_nothing_is_lost(pretrain: Pretrain, tmp_path: Path) -> None:
    pretrain(tmp_path / "run")
    before = weights(tmp_path / "run")
    with pytest.raises(SettingsError, match=r"learning_rate was 0.001, now 0.01.*choose another --out"):
        pretrain(tmp_path / "run", learning_rate=0.01)
    assert weights(tmp_path / "run") == before
    pretrain(tmp_path / "run", keep=1, max_time="1h")  # these do not change what the run is


def test_a_folder_with_something_else_is_refused(pretrain: Pretrain, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(SettingsError, match="is not empty and holds no training run"):
        pretrain(tmp_path)
    assert [path.name for path in tmp_path.iterdir() if path.name != ".lock"] == ["notes.txt"]


def test_two_processes_cannot_train_into_one_folder(pretrain: Pretrain, tmp_path: Path) -> None:
    with only_one(tmp_path / "run"), pytest.raises(SettingsError, match="another process is training into"):
        pretrain(tmp_path / "run")


@pytest.mark.parametrize("victim", ["state.safetensors", "state.json", "model/model.safetensors", "model/config.json"])
@pytest.mark.parametrize("damage", ["flip", "truncate", "remove"])
def test_a_damaged_checkpoint_is_passed_over(
    pretrain: Pretrain, tmp_path: Path, capsys: pytest.CaptureFixture[str], victim: str, damage: str
) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    pretrain(whole)
    with pytest.raises(KeyboardInterrupt):
        pretrain(parts, stop=5)  # checkpoints at 3 and 5
    file = parts / "checkpoints" / "step-00000005" / victim
    content = bytearray(file.read_bytes())
    if damage == "flip":
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
    elif damage == "truncate":
        file.write_bytes(content[: len(content) // 2])
    else:
        file.unlink()
    pretrain(parts)
    assert "step-00000005 is damaged" in capsys.readouterr().err
    assert_same(whole, parts)


def test_without_a_whole_checkpoint_training_begins_anew(
    pretrain: Pretrain, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    pretrain(whole)
    with pytest.raises(KeyboardInterrupt):
        pretrain(parts, stop=2)
    (parts / "checkpoints" / "step-00000002" / "state.json").write_text("{")
    pretrain(parts)
    assert "begins anew" in capsys.readouterr().err
    assert_same(whole, parts)


def test_checkpoints_are_kept_by_count(pretrain: Pretrain, tmp_path: Path) -> None:
    pretrain(tmp_path / "run", checkpoint_every=1, keep=3)
    assert [path.name for path in checkpoint.all_of(tmp_path / "run")] == [f"step-0000000{step}" for step in (6, 7, 8)]
    assert not list((tmp_path / "run").rglob("*.partial"))


def test_a_full_disk_is_an_error_and_the_last_checkpoint_stays(
    pretrain: Pretrain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    pretrain(whole)
    write = Image.write

    def fill(image: Image, path: Path) -> str:
        if "00000006" in str(path):
            path.write_bytes(b"some of it")
            raise OSError(28, "No space left on device")
        return write(image, path)

    monkeypatch.setattr(Image, "write", fill)
    with pytest.raises(ResourceError, match=r"the disk is full.*run the same command again"):
        pretrain(parts)
    assert [path.name for path in (parts / "checkpoints").iterdir()] == ["step-00000003"]
    monkeypatch.setattr(Image, "write", write)
    pretrain(parts)
    assert_same(whole, parts)


def test_a_loss_that_is_not_finite_stops_with_step_documents_and_checkpoint(pretrain: Pretrain, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        pretrain(tmp_path / "run", stop=3)
    poison(tmp_path / "run")
    with pytest.raises(TrainingError) as error:
        pretrain(tmp_path / "run")
    message = str(error.value)
    assert "--train.learning_rate=0.0005" in message
    assert "\n" not in message and "step 4" in message and "documents 0 (made up)" in message
    assert str(tmp_path / "run" / "checkpoints" / "step-00000003") in message


def poison(out: Path) -> None:
    """Makes one weight of the checkpoint so large that the next loss is not finite, with the right checksums."""
    path = out / "checkpoints" / "step-00000003"
    name = path / "model" / "model.safetensors"
    data = bytearray(name.read_bytes())
    data[-4:] = torch.tensor([3e38]).numpy().tobytes()  # finite, but its square is not
    name.write_bytes(data)
    state = json.loads((path / "state.json").read_text())
    state["files"]["model/model.safetensors"] = checkpoint.sha256(name)
    state.pop("checksum")
    state["checksum"] = checkpoint.fingerprint(state)
    (path / "state.json").write_text(json.dumps(state))


def test_early_stopping_keeps_the_best_model(pretrain: Pretrain, text: Text, tmp_path: Path) -> None:
    summary = pretrain(tmp_path / "run", steps=200, learning_rate=0.5, schedule="constant", eval_every=1, patience=3)
    seen = {step: loss for step, *_, loss in losses(tmp_path / "run")}
    assert summary.ended == "patience" and summary.steps == summary.best_step + 3 < 200
    assert summary.validation_loss == seen[summary.best_step] == min(seen.values())
    model = load_model(tmp_path / "run" / "model")
    kept = Validation(text.validation, NextToken(), 12, 60, 4).loss(model, torch.device("cpu"))
    assert kept == pytest.approx(summary.validation_loss, abs=1e-6)
    assert pretrain(
        tmp_path / "run", steps=200, learning_rate=0.5, schedule="constant", eval_every=1, patience=3
    ) == summary  # fmt: skip


def test_time_is_up_and_more_time_goes_on(pretrain: Pretrain, tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    pretrain(whole, eval_every=1)
    summary = pretrain(parts, max_time="0.000001s", eval_every=1)
    assert (summary.ended, summary.steps) == ("time", 1) and (parts / "model" / "config.json").exists()
    assert pretrain(parts, max_time="0.000001s", eval_every=1) == summary
    assert pretrain(parts, max_time="1h", eval_every=1).ended == "finished"
    assert_same(whole, parts)


@pytest.mark.parametrize(
    "changes, error, message",
    [
        ({"length": 600}, DataError, "has 600 tokens, and one training window needs 601"),
        ({"schedule": "cosin"}, SettingsError, "did you mean 'cosine'"),
        ({"optimizer": "adam"}, SettingsError, "did you mean 'adamw'"),
        ({"device": "cuda:9"}, SettingsError, "no device"),
        ({"sizes": {"max_length": 8}}, SettingsError, "reads at most 8 tokens"),
    ],
    ids=str,
)
def test_what_cannot_work_is_refused_before_anything_is_written(
    pretrain: Pretrain, tmp_path: Path, changes: dict, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        pretrain(tmp_path / "run", **changes)
    assert not (tmp_path / "run" / "settings.json").exists()


def test_patience_without_validation_text_is_refused(text: Text) -> None:
    model = create(ModelSettings(width=16, depth=1, heads=2), 16, 0)
    with pytest.raises(SettingsError, match="needs validation text"):
        training.check(model, Text(text.train), TrainSettings(length=12, patience=2), NextToken())


def test_settings_are_saved_with_what_was_resolved(pretrain: Pretrain, tmp_path: Path) -> None:
    pretrain(tmp_path / "run", precision="auto")
    tree = json.loads((tmp_path / "run" / "settings.json").read_text())
    assert tree["settings"]["precision"] == "auto" and tree["settings"]["steps"] == 8
    assert tree["resolved"]["precision"] in {"fp32", "bf16"} and "GFLOP/s" in tree["resolved"]["why"]
    assert tree["resolved"]["threads"] == 1


def test_settings_that_are_no_settings(pretrain: Pretrain, tmp_path: Path) -> None:
    (tmp_path / "settings.json").write_text("[]")
    with pytest.raises(CheckpointError, match="describes no training run"):
        pretrain(tmp_path)


def test_what_a_kill_left_at_the_very_beginning_does_not_stand_in_the_way(pretrain: Pretrain, tmp_path: Path) -> None:
    (tmp_path / "settings.json.123.partial").write_text("{")
    pretrain(tmp_path)
    assert not list(tmp_path.rglob("*.partial"))


def test_a_summary_that_is_none(pretrain: Pretrain, tmp_path: Path) -> None:
    pretrain(tmp_path / "run")
    (tmp_path / "run" / "summary.json").write_text("[1]")
    with pytest.raises(CheckpointError, match="no summary of a run"):
        pretrain(tmp_path / "run")


def test_a_killed_swap_of_the_best_model_is_mended(pretrain: Pretrain, tmp_path: Path) -> None:
    pretrain(tmp_path / "whole")
    shutil.copytree(tmp_path / "whole", tmp_path / "parts")
    (tmp_path / "parts" / "summary.json").unlink()
    shutil.rmtree(tmp_path / "parts" / "model")
    (tmp_path / "parts" / folder.BEST).rename(tmp_path / "parts" / f"{folder.BEST}.old.partial")
    pretrain(tmp_path / "parts")
    assert_same(tmp_path / "whole", tmp_path / "parts")


def test_stopped_at_a_step_it_goes_on_to_the_same_end(pretrain: Pretrain, tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    pretrain(whole)
    for stop_at in (4, 4, 6):  # asked again it has nothing to do
        part = pretrain(parts, stop_at=stop_at)
        assert (part.steps, part.ended) == (stop_at, "stop")
    assert pretrain(parts, stop_at=5).steps == 6  # it does not go back
    assert pretrain(parts).ended == "finished"
    assert_same(whole, parts)


def test_a_stop_is_within_the_steps() -> None:
    with pytest.raises(SettingsError, match="train.stop_at must be between 1 and 8"):
        TrainSettings(steps=8, stop_at=9)
