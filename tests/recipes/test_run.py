"""`nextword run` as a user calls it: the stages, what is skipped and redone, refusals, Ctrl-C, every shipped recipe."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from nextword.core.settings import load_toml
from nextword.recipes.shipped_recipes import recipes

Cli = Callable[..., subprocess.CompletedProcess[str]]
TINY_TEXT = ["--text", "tinyworld:300"]
TINY = {
    "llama": ["--model.width=32", "--model.depth=1", "--model.heads=2", "--train.steps=12", "--train.length=32",
              "--train.batch=4", "--train.warmup=2", "--train.eval-every=6", "--train.checkpoint-every=4"],
    "lstm": ["--model.width=32", "--model.depth=1", "--train.steps=12", "--train.length=32", "--train.batch=4",
             "--train.eval-every=6"],
    "ngram": [],
}  # fmt: skip
VOCABULARY = {"bert": 600, "electra": 600, "t5": 600}  # pieces of words need more than bytes do
SAMPLES = ["--sample.sampling.max-tokens=5"]


def stages(out: Path) -> dict[str, dict[str, object]]:
    found: dict[str, dict[str, object]] = json.loads((out / "run.json").read_text())["stages"]
    return found


@pytest.fixture(scope="module")
def done(cli: Cli, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A small run of the demo, and the command that made it."""
    out = tmp_path_factory.mktemp("run") / "out"
    command = ["run", "demo", "--out", str(out), *TINY_TEXT, "--tokenizer.vocab-size=300", *TINY["llama"], *SAMPLES]
    result = cli(*command)
    assert result.returncode == 0, result.stderr
    assert f"next: nextword generate {out / 'model'}" in result.stdout
    return out, command


def test_a_run_leaves_a_model_that_other_tools_open(done: tuple[Path, list[str]]) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    out, _ = done
    tokenizer, model = AutoTokenizer.from_pretrained(out / "model"), AutoModelForCausalLM.from_pretrained(out / "model")
    ids = tokenizer("Once upon a time", return_tensors="pt").input_ids
    assert model(ids).logits.shape[-1] == 300
    figures = json.loads((out / "evaluation.json").read_text())
    assert list(figures["sources"]) == ["tinyworld"]
    assert 1 < figures["all"]["bits_per_byte"] < 8
    report = (out / "report.html").read_text()
    assert f"{figures['all']['bits_per_byte']:.3f}" in report and "<svg" in report
    assert "width = 32" in report, "the resolved settings stand in the report"


def test_the_same_command_skips_all_and_a_change_redoes_what_follows(cli: Cli, done: tuple[Path, list[str]]) -> None:
    out, command = done
    before = stages(out)
    again = cli(*command)
    assert again.returncode == 0 and again.stderr.count("done before, unchanged") == 5
    assert stages(out) == before
    changed = cli(
        *command, "--sample.prompts", "A cat", "--train.keep=1"
    )  # how many checkpoints are kept changes nothing
    assert changed.returncode == 0, changed.stderr
    assert changed.stderr.count("done before, unchanged") == 4
    assert "A cat" in (out / "samples.json").read_text()


def test_dry_run_forecasts_and_does_nothing(cli: Cli, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = cli("run", "demo", "--out", out, *TINY_TEXT, "--dry-run")
    assert result.returncode == 0, result.stderr
    for word in ("tokenizer", "tokenize", "pretrain", "evaluate", "sample", "parameters", "memory", "disk", "training"):
        assert word in result.stdout
    assert not out.exists()


@pytest.mark.parametrize("name", [name for name in recipes() if name != "demo"])
def test_every_shipped_recipe_runs_at_tiny_scale(cli: Cli, name: str, tmp_path: Path) -> None:
    family = load_toml(recipes()[name])["model"]["family"]
    vocabulary = [] if name in {"characters", "fast"} else [f"--tokenizer.vocab-size={VOCABULARY.get(name, 300)}"]
    windows = ["--evaluate.windows=32"] if name in {"characters", "fast"} else []
    out = tmp_path / "out"
    sizes = TINY.get(family, TINY["llama"])
    result = cli("run", name, "--out", out, *TINY_TEXT, *vocabulary, *sizes, *windows, *SAMPLES)
    assert result.returncode == 0, result.stderr
    assert (out / "report.html").exists()
    assert json.loads((out / "model" / "config.json").read_text())["model_type"].endswith(family)


def test_ctrl_c_saves_and_the_same_command_ends_where_it_would_have(cli: Cli, tmp_path: Path) -> None:
    sizes = [flag.replace("steps=12", "steps=150") for flag in TINY["llama"]]
    base = ["run", "demo", *TINY_TEXT, "--tokenizer.vocab-size=300", *sizes, *SAMPLES]
    straight, broken = tmp_path / "straight", tmp_path / "broken"
    assert cli(*base, "--out", straight).returncode == 0
    command = [sys.executable, "-m", "nextword.cli", *base, "--out", str(broken)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"})
    deadline = time.monotonic() + 60
    while not list((broken / "pretrain" / "checkpoints").glob("step-*[0-9]")) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "to go on: nextword run demo" in errors and "Traceback" not in errors
    again = cli(*base, "--out", broken)
    assert again.returncode == 0, again.stderr
    assert "pretrain: goes on" in again.stderr
    weights = [path / "model" / "model.safetensors" for path in (straight, broken)]
    assert weights[0].read_bytes() == weights[1].read_bytes()


def test_what_cannot_be_meant_is_refused_in_one_line(
    refused: Callable[..., str], done: tuple[Path, list[str]], tmp_path: Path
) -> None:
    out, _ = done
    recipe = tmp_path / "r.toml"
    recipe.write_text('[tokenizer]\nkind = "bpe"\nvocab_sise = 300\n')
    assert "unknown setting 'tokenizer.vocab_sise'; did you mean 'vocab_size'?" in refused("run", recipe)
    recipe.write_text("steps = [")
    assert "not valid TOML" in refused("run", recipe)
    recipe.write_text("out = 'here'\n")
    assert "'out' belongs on the command line" in refused("run", recipe)
    assert "holds a run of recipe 'demo', not 'ngram'" in refused("run", "ngram", "--out", out)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_text("")
    assert "is no run of nextword" in refused("run", "demo", "--out", tmp_path / "photos")
    assert "does not exist" in refused("run", tmp_path / "missing.toml")
    assert "name a recipe first" in refused("run", "--dry-run")
    assert "--train.steps" in refused("run", "demo", "--train.stepz=3")
    assert (out / "report.html").exists(), "nothing is lost"


def test_a_run_does_not_stop_between_its_steps(refused: Callable[..., str], tmp_path: Path) -> None:
    message = refused("run", "demo", "--out", tmp_path / "run", "--train.stop_at=5")
    assert "train.stop_at is for `nextword pretrain`" in message and not (tmp_path / "run").exists()
