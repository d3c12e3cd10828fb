"""Runs of two processes on the CPU, started by torchrun as a user starts them."""

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from nextword.data.shards import TokenWriter
from nextword.tokenizers.settings import TokenizerSettings
from nextword.tokenizers.train import train

FLAGS = ["--model.width=16", "--model.depth=2", "--train.steps=60", "--train.length=16", "--train.batch=4",
         "--train.eval_every=20", "--train.eval_tokens=64", "--train.checkpoint_every=4", "--train.precision=fp32",
         "--train.threads=1", "--quiet"]  # fmt: skip
Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture(scope="session")
def make_tokens(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Path]:
    """`make_tokens(step)`: a folder of tokens of sums, other ones for another step."""

    def make(step: int) -> Path:
        folder = tmp_path_factory.mktemp("parallel") / f"tokens{step}"
        texts = [f"{a} and {b} make {a + b}. " for a in range(30) for b in range(0, 10 * step, step)]
        tokenizer = train(TokenizerSettings(kind="character"), iter(texts))
        with TokenWriter.create(folder, tokenizer) as writer:
            for number, text in enumerate(texts):
                writer.add("validation" if number % 10 == 0 else "train", tokenizer.encode(text), "sums", len(text), 5)
        return folder

    return make


@pytest.fixture(scope="session")
def tokens(make_tokens: Callable[[int], Path]) -> Path:
    return make_tokens(1)


@pytest.fixture(scope="session")
def flags() -> list[str]:
    return FLAGS


@pytest.fixture(scope="session")
def setting() -> ModuleType:
    """The tiny run in `setting.py`, which the processes of torchrun import too."""
    spec = importlib.util.spec_from_file_location("setting", Path(__file__).with_name("setting.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def torchrun() -> Start:
    """`torchrun(*arguments, restarts=0)` starts two processes of a script or `-m module`."""

    def start(*arguments: object, restarts: int = 0) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", f"--max-restarts={restarts}",
                   "--rdzv-backend=c10d", "--rdzv-endpoint=localhost:0", "--monitor-interval=0.1",
                   *map(str, arguments)]  # fmt: skip
        return subprocess.Popen(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ)

    return start
