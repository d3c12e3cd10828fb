"""A row of tokens in memory, tiny models, and runs that are interrupted at a given step."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

from nextword.models.checkpoint import load_model, write_model
from nextword.models.create import create
from nextword.models.settings import ModelSettings
from nextword.train import pretrain as training
from nextword.train.folder import Summary
from nextword.train.pretrain import ModelFiles, Text
from nextword.train.settings import TrainSettings

VOCABULARY = 16


class Row:
    """Tokens in memory, as documents of the given lengths."""

    def __init__(self, ids: np.ndarray, lengths: list[int] | None = None) -> None:
        self.ids = ids
        ends = np.cumsum(lengths or [len(ids)])
        self.documents = np.stack([ends, ends, ends, np.zeros_like(ends)], 1)
        self.sources = ("made up",)

    def __len__(self) -> int:
        return len(self.ids)

    def read(self, start: int, stop: int) -> np.ndarray:
        assert 0 <= start <= stop <= len(self.ids)
        return self.ids[start:stop]


@pytest.fixture
def text() -> Text:
    """Ids that go up by 0, 1 or 2 at random: something to learn."""
    ids = np.cumsum(np.random.default_rng(0).integers(0, 3, 700)) % VOCABULARY
    return Text(Row(ids[:600], [200, 400]), Row(ids[600:]))


def write(folder: Path, model: torch.nn.Module) -> None:
    folder.mkdir(exist_ok=True)
    write_model(model, folder)


FILES = ModelFiles(write, load_model)
TINY = {"width": 16, "depth": 1, "heads": 2}
SETTINGS = {"steps": 8, "batch": 4, "length": 12, "eval_every": 2, "eval_tokens": 60, "checkpoint_every": 3,
            "warmup": 2, "precision": "fp32", "threads": 1}  # fmt: skip
Pretrain = Callable[..., Summary]


@pytest.fixture
def pretrain(text: Text, monkeypatch: pytest.MonkeyPatch) -> Pretrain:
    """Trains a tiny model into a folder; `stop` is a step at which somebody presses Ctrl-C; others are settings."""

    def run(
        out: Path, *, stop: int | None = None, family: str = "llama", sizes: dict | None = None, **changes: object
    ) -> Summary:
        sizes = {} if sizes is None else sizes
        model = create(
            ModelSettings(family=family, **({**TINY, **sizes} if family == "llama" else sizes)), VOCABULARY, 1
        )

        @contextmanager
        def listening() -> Iterator[object]:
            yield Finger(stop)

        monkeypatch.setattr(training, "listening", listening)
        settings = TrainSettings(**{**SETTINGS, **changes})
        return training.pretrain(model, text, settings, out, FILES, depends={}, flops_per_token=1e4, quiet=True)

    return run


class Finger:
    """Presses Ctrl-C when it has been looked at `count` times (once a step)."""

    def __init__(self, count: int | None) -> None:
        self.left = count

    @property
    def stop(self) -> bool:
        if self.left is None:
            return False
        self.left -= 1
        return self.left <= 0
