"""Two processes end where one ends, whichever began; and fail as one.

All scenarios run in one pair of processes (`several.py`), since starting a pair takes longer than they do.
"""

import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import pytest
from safetensors.torch import load_file

from nextword.core import log
from nextword.train import checkpoint
from nextword.train import pretrain as training

Start = Callable[..., subprocess.Popen[str]]
HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def out(torchrun: Start, setting: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("several")
    setting.pretrain(folder / "one")
    for kind in ("ddp", "fsdp"):
        interrupted(setting, folder / f"one-{kind}", 4)
    process = torchrun(HERE / "several.py", folder)
    error = process.communicate(timeout=200)[1]
    assert process.returncode == 1, error  # the last scenario kills a process
    assert len(seen(folder, 0)) >= 16, error
    return folder


def interrupted(setting: ModuleType, out: Path, stop: int) -> None:
    """A run of one process that is interrupted after `stop` steps."""

    @contextmanager
    def listening() -> Iterator[object]:
        yield setting.Finger(stop)

    usual, training.listening = training.listening, listening
    try:
        with pytest.raises(KeyboardInterrupt):
            setting.pretrain(out)
    finally:
        training.listening = usual


def seen(out: Path, rank: int) -> dict[str, str]:
    return json.loads((out / f"seen-{rank}.json").read_text())


def assert_close(one: Path, other: Path, room: float = 2e-6) -> None:
    """The same run up to the order of sums, or to the bit without room."""
    lines, others = log.read(one / "log.jsonl"), log.read(other / "log.jsonl")
    assert len(lines) == len(others)
    for line, found in zip(lines, others, strict=True):
        assert (line["step"], line["tokens"]) == (found["step"], found["tokens"])
        for key in {"loss", "grad_norm", "validation_loss"} & line.keys():
            assert found[key] == pytest.approx(line[key], abs=room, rel=room), (line, found)
    weights, found = (load_file(out / "model" / "model.safetensors") for out in (one, other))
    for name, tensor in weights.items():
        assert (found[name].float() - tensor.float()).abs().max() <= 20 * room, name


@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
def test_two_processes_equal_one(out: Path, kind: str) -> None:
    assert seen(out, 0)[kind] == seen(out, 1)[kind] == ""
    assert_close(out / "one", out / kind)


@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
def test_an_encoder_decoder_too(out: Path, setting: ModuleType, kind: str) -> None:
    """Its rows have different numbers of labels, and the decoder's blocks ask the source."""
    assert seen(out, 0)[f"{kind}-t5"] == seen(out, 1)[f"{kind}-t5"] == ""
    if not (out / "t5").exists():
        setting.pretrain(out / "t5", family="t5")
    assert_close(out / "t5", out / f"{kind}-t5", room=1e-5)  # its weights begin fifty times as large as a Llama's


@pytest.mark.parametrize("name", ["one-ddp", "one-fsdp", "ddp-fsdp"])
def test_more_processes_go_on(out: Path, name: str) -> None:
    assert seen(out, 0)[name] == seen(out, 1)[name] == ""
    assert_close(out / "one", out / name)


@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
def test_one_process_goes_on_where_two_stopped(out: Path, setting: ModuleType, tmp_path: Path, kind: str) -> None:
    half = out / f"{kind}-half"
    assert seen(out, 0)[f"{kind}-half"].startswith("KeyboardInterrupt")
    assert seen(out, 1)[f"{kind}-half"].startswith("Elsewhere")
    assert [path.name for path in checkpoint.all_of(half)] == ["step-00000003", "step-00000004"]
    shutil.copytree(half, tmp_path / "run")
    setting.pretrain(tmp_path / "run")
    assert_close(out / "one", tmp_path / "run")


@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
def test_interrupted_equals_uninterrupted(out: Path, kind: str) -> None:
    """In bf16 with masters, dropout and a running mean."""
    assert seen(out, 0)[f"{kind}-full"] == seen(out, 0)[f"{kind}-parts"] == ""
    assert_close(out / f"{kind}-full", out / f"{kind}-parts", room=0)


@pytest.mark.parametrize("name", ["ddp-muon", "ddp-adamw8bit", "fsdp-lion"])
def test_with_other_optimizers(out: Path, name: str) -> None:
    assert seen(out, 0)[name] == seen(out, 0)[f"{name}-parts"] == seen(out, 1)[f"{name}-parts"] == ""
    assert_close(out / name, out / f"{name}-parts", room=0)
    losses = [line["loss"] for line in log.read(out / name / "log.jsonl")]
    assert losses[-1] < losses[0] and losses != [line["loss"] for line in log.read(out / "one" / "log.jsonl")]


@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
def test_each_process_writes_a_part(out: Path, kind: str) -> None:
    path = out / f"{kind}-half" / "checkpoints" / "step-00000004"
    parts = [load_file(path / f"state-{rank:05d}-of-00002.safetensors") for rank in range(2)]
    name = "optimizer.mean.embedding.weight"
    assert [part[name].shape[0] for part in parts] == [9, 8]  # 17 rows
    assert "optimizer.time" in parts[0] and "optimizer.time" not in parts[1]
    about = json.loads((path / "state-00001-of-00002.json").read_text())
    assert about["sha256"] == checkpoint.sha256(path / "state-00001-of-00002.safetensors")
    (path / "state-00001-of-00002.json").rename(path / "gone")
    with pytest.raises(checkpoint.CheckpointError, match="is missing"):
        checkpoint.read(path)
    (path / "gone").rename(path / "state-00001-of-00002.json")


@pytest.mark.parametrize(
    "name, message",
    [
        ("data", r"^SettingsError: process 1 of 2 differs from process 0 in the text: '\w+' instead of '\w+'; the val"),
        ("settings", r"^SettingsError: process 1 of 2 differs from process 0 in train.keep: 3 instead of 2: start all"),
        ("none", r"^SettingsError: train.parallel=none, but torchrun has started 2 processes"),
        ("rows", r"^SettingsError: train.optimizer=muon needs whole matrices, of which fsdp gives .*parallel=ddp"),
        ("few", r"^SettingsError: train.batch is 1, too few rows for 2 processes"),
    ],
)
def test_what_cannot_work_is_refused_by_all_before_anything_is_written(out: Path, name: str, message: str) -> None:
    assert re.search(message, seen(out, 0)[name]) and "\n" not in seen(out, 0)[name]
    assert seen(out, 1)[name].startswith("Elsewhere")
    assert not (out / name).exists()


def test_a_full_disk_of_one_process_stops_all(out: Path) -> None:
    assert seen(out, 0)["disk"].startswith("TrainingError: process 1 of 2: the disk is full")
    assert seen(out, 1)["disk"].startswith("Elsewhere")
    assert [path.name for path in (out / "disk" / "checkpoints").iterdir()] == ["step-00000003"]


def test_a_process_lost_while_saving_leaves_the_checkpoint_before(out: Path, setting: ModuleType) -> None:
    assert "lost" not in seen(out, 1)
    assert "lost" not in seen(out, 0) or "another process of the run was lost" in seen(out, 0)["lost"]
    good = checkpoint.find_good(out / "lost", print)
    assert good is not None and good[0].name == "step-00000003"
    setting.pretrain(out / "lost")
    assert_close(out / "one", out / "lost")
