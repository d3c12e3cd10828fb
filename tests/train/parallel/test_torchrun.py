"""The command line under torchrun: a killed worker, Ctrl-C, processes that differ."""

import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from nextword import cli
from nextword.core import log

Start = Callable[..., subprocess.Popen[str]]


def lines(out: Path) -> list[dict]:
    return log.read(out / "log.jsonl")


def wait_for(process: subprocess.Popen[str], ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not ready():
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()[1]
        time.sleep(0.002)


def alone(tokens: Path, out: Path, flags: list[str]) -> None:
    """The same command without torchrun, in this process."""
    with pytest.raises(SystemExit) as ended:
        cli.main(["pretrain", str(tokens), "--out", str(out), *flags])
    assert ended.value.code == 0


def workers(process: subprocess.Popen[str]) -> dict[int, int]:
    """Process ids by rank."""
    children = psutil.Process(process.pid).children()
    return {int(child.environ()["RANK"]): child.pid for child in children if "RANK" in child.environ()}


def test_killed_restarted_interrupted_and_finished_by_one(
    torchrun: Start, tokens: Path, flags: list[str], tmp_path: Path
) -> None:
    whole, out = tmp_path / "whole", tmp_path / "out"
    alone(tokens, whole, flags)
    process = torchrun("-m", "nextword.cli", "pretrain", tokens, "--out", out, *flags, restarts=1)
    wait_for(process, lambda: len(lines(out)) >= 10)
    first = workers(process)
    psutil.Process(first[1]).send_signal(signal.SIGKILL)
    wait_for(process, lambda: len(lines(out)) < 10 or len(lines(out)) >= 30)
    wait_for(process, lambda: len(lines(out)) >= 30)
    assert len(first) == 2 and not set(first.values()) & set(workers(process).values())  # torchrun began both anew
    process.send_signal(signal.SIGINT)
    error = process.communicate(timeout=60)[1]
    done = len(lines(out))
    assert process.returncode != 0 and 30 <= done < 60
    assert f"stopped and saved at step {done}" in error
    assert (out / "checkpoints" / f"step-{done:08d}" / "state.json").exists()
    alone(tokens, out, flags)
    assert len(lines(out)) == 60
    for line, found in zip(lines(whole), lines(out), strict=True):
        assert found["loss"] == pytest.approx(line["loss"], abs=1e-5) and found["tokens"] == line["tokens"]


SCRIPT = """
import os, sys
from nextword.cli import main
tokens = sys.argv[1 + int(os.environ["RANK"])]
main(["pretrain", tokens, *sys.argv[3:]])
"""


def test_processes_with_different_tokens_stop(
    torchrun: Start, tokens: Path, make_tokens: Callable[[int], Path], flags: list[str], tmp_path: Path
) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    process = torchrun(script, tokens, make_tokens(2), "--out", tmp_path / "out", *flags)
    error = process.communicate(timeout=60)[1]
    assert process.returncode != 0
    told = [line for line in error.splitlines() if line.startswith("error: ")]
    assert len(told) == 1 and "process 1 of 2 differs from process 0 in text" in told[0], error
    assert not (tmp_path / "out").exists()
