"""Two processes that share a batch (DDP, one thread each) against one process with two threads, on the same two cores.

Both train the same model on the same rows; what differs is who waits for whom. A process with two threads joins them in
every matrix product, two processes meet once a step, in the sum of gradients (over gloo, on the loopback).
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.ratio import Ratio
from nextword.core import log
from nextword.data.shards import TokenWriter
from nextword.tokenizers.settings import TokenizerSettings
from nextword.tokenizers.train import train

ROUNDS, STEPS, SKIPPED = 3, 10, 3  # the first steps warm up
SIZES = ["--model.width=384", "--model.depth=6", "--train.length=256", "--train.batch=8"]
FLAGS = [*SIZES, f"--train.steps={STEPS}", "--train.precision=fp32", "--train.eval_every=0", "--quiet", "--json",
         "--train.checkpoint_every=1000"]  # fmt: skip
ALONE = [sys.executable]
TWO = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--rdzv-backend=c10d",
       "--rdzv-endpoint=localhost:0"]  # fmt: skip


def measure() -> list[Ratio]:
    """Alternates the two, each in fresh processes."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_tokens(folder / "tokens")
        ours, peer = [], []
        for number in range(ROUNDS):
            ours.append(speed(TWO, folder / "tokens", folder / f"two{number}", threads=1))
            peer.append(speed(ALONE, folder / "tokens", folder / f"one{number}", threads=2))
    note = "10.6M parameters, 8 rows of 256 tokens, fp32"
    return [Ratio("two processes, DDP", float(np.median(ours)), float(np.median(peer)), "tokens/s",
                  "one process, two threads", 0.9, note=note)]  # fmt: skip


def make_tokens(folder: Path) -> None:
    """Enough tokens for every step, drawn evenly: speed does not depend on what they say."""
    tokenizer = train(TokenizerSettings(kind="byte"), iter(["text"]))
    draw = np.random.default_rng(0)
    with TokenWriter.create(folder, tokenizer) as writer:
        for split, count in (("train", 200), ("validation", 1)):
            for _ in range(count):
                writer.add(split, draw.integers(0, 256, 1000).tolist(), "drawn", 1000, 200)


def speed(launch: list[str], tokens: Path, out: Path, threads: int) -> float:
    """Tokens a second over the steps after the first few."""
    command = [*launch, "-m", "nextword.cli", "pretrain", str(tokens), "--out", str(out), *FLAGS]
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    result = subprocess.run(
        [*command, f"--train.threads={threads}"], check=True, env=environment, stdout=subprocess.PIPE, text=True
    )
    assert json.loads(result.stdout)["steps"] == STEPS
    lines = log.read(out / "log.jsonl")[SKIPPED - 1 :]
    return (lines[-1]["tokens"] - lines[0]["tokens"]) / (lines[-1]["seconds"] - lines[0]["seconds"])
