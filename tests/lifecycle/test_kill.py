"""Killed at any moment and started again, a run ends bit for bit where the uninterrupted one ends.

The model is so small and checkpoints so frequent that something is being saved nearly all the time; the moments of the
kills are drawn anew in each test run (the seed is printed when it fails).
"""

import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from nextword.core import log
from nextword.data.shards import TokenWriter
from nextword.tokenizers.settings import TokenizerSettings
from nextword.tokenizers.train import train

STEPS = 60
FLAGS = ["--model.width=16", "--model.depth=1", f"--train.steps={STEPS}", "--train.length=16", "--train.batch=4",
         "--train.eval_every=20", "--train.eval_tokens=64", "--train.checkpoint_every=4", "--train.precision=fp32",
         "--model.dropout=0.1", "--train.threads=1", "--quiet"]  # fmt: skip
SAME = ("step", "loss", "learning_rate", "grad_norm", "tokens", "validation_loss")


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kill") / "tokens"
    texts = [f"{a} and {b} make {a + b}. " for a in range(30) for b in range(10)]
    tokenizer = train(TokenizerSettings(kind="character"), iter(texts))
    with TokenWriter.create(folder, tokenizer) as writer:
        for number, text in enumerate(texts):
            writer.add("validation" if number % 10 == 0 else "train", tokenizer.encode(text), "sums", len(text), 5)
    return folder


def command(tokens: Path, out: Path) -> list[str]:
    return [sys.executable, "-m", "nextword.cli", "pretrain", str(tokens), "--out", str(out), *FLAGS]


@pytest.fixture(scope="module")
def whole(tokens: Path) -> Path:
    out = tokens.parent / "whole"
    subprocess.run(command(tokens, out), check=True, timeout=120, capture_output=True)
    return out


def lines(out: Path) -> list[tuple]:
    return [tuple(line.get(key) for key in SAME) for line in log.read(out / "log.jsonl")]


def assert_same(whole: Path, out: Path) -> None:
    assert lines(out) == lines(whole)
    for name in ("model.safetensors", "config.json", "tokenizer.json"):
        assert (out / "model" / name).read_bytes() == (whole / "model" / name).read_bytes()


def after(out: Path, step: int) -> Callable[[], bool]:
    """True once the log has `step` lines."""
    path = out / "log.jsonl"
    return lambda: path.exists() and path.read_bytes().count(b"\n") >= step


def while_saving(out: Path, step: int) -> Callable[[], bool]:
    """True at a moment after `step` at which a checkpoint is half written."""
    started = after(out, step)
    return lambda: started() and any((out / "checkpoints").glob("*.partial"))


def stop_when(process: subprocess.Popen[str], ready: Callable[[], bool], number: int, delay: float) -> str:
    """Sends a signal as soon as `ready` says so (or the process has ended); its stderr."""
    deadline = time.monotonic() + 60
    while process.poll() is None and not ready():
        assert time.monotonic() < deadline
        time.sleep(0.0005)
    time.sleep(delay)
    process.send_signal(number)
    return process.communicate(timeout=60)[1]


def test_killed_at_random_moments(tokens: Path, whole: Path, tmp_path: Path) -> None:
    seed = int.from_bytes(os.urandom(4), "little")
    draw, out = random.Random(seed), tmp_path / "run"
    moments = [(after, draw.randint(1, 20)), (while_saving, draw.randint(12, 28)), (while_saving, draw.randint(28, 48))]
    try:
        for ready, step in moments:
            process = subprocess.Popen(command(tokens, out), stderr=subprocess.PIPE, text=True)
            stop_when(process, ready(out, step), signal.SIGKILL, draw.uniform(0, 0.01))
            assert process.returncode == -signal.SIGKILL, process.returncode
            assert not (out / "summary.json").exists()
        result = subprocess.run(command(tokens, out), check=False, timeout=120, capture_output=True, text=True)
        assert result.returncode == 0, result.stderr
        assert_same(whole, out)
        assert not list(out.rglob("*.partial"))
    except AssertionError:
        print(f"seed {seed}, moments {moments}")
        raise


def test_ctrl_c_saves_and_says_how_to_go_on(tokens: Path, whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    process = subprocess.Popen(command(tokens, out), stderr=subprocess.PIPE, text=True)
    error = stop_when(process, after(out, 10), signal.SIGINT, 0)
    assert process.returncode == 130, error
    assert "the same command goes on from there" in error and "Traceback" not in error
    steps = len(lines(out))
    assert (out / "checkpoints" / f"step-{steps:08d}" / "state.json").exists() and steps < STEPS
    limited = subprocess.run(
        command(tokens, out),
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (15_000, 15_000)),  # no room for a model
    )
    assert limited.returncode == 1 and "Traceback" not in limited.stderr, limited.stderr
    assert limited.stderr.splitlines()[-1].startswith("error: the disk is full"), limited.stderr
    assert (out / "checkpoints" / f"step-{steps:08d}" / "state.json").exists()
    subprocess.run(command(tokens, out), check=True, timeout=120, capture_output=True)
    assert_same(whole, out)
