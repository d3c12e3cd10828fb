"""The tiny run that the tests of several processes repeat: made-up ids, a model whose shapes divide by nothing."""

from pathlib import Path

import numpy as np
import torch

from nextword.core.distributed import ALONE, World
from nextword.data.forms.spans import Spans
from nextword.data.marks import Marks
from nextword.models.checkpoint import load_model, write_model
from nextword.models.create import create
from nextword.models.settings import ModelSettings
from nextword.objectives.base import LabelLoss
from nextword.train import pretrain as training
from nextword.train.folder import Summary
from nextword.train.pretrain import ModelFiles, Text
from nextword.train.settings import TrainSettings

VOCABULARY = 17
SETTINGS = {"steps": 8, "batch": 5, "length": 12, "eval_every": 2, "eval_tokens": 60, "checkpoint_every": 3,
            "warmup": 2, "precision": "fp32", "threads": 1, "learning_rate": 0.01}  # fmt: skip


class Row:
    """Tokens in memory, one document."""

    def __init__(self, ids: np.ndarray) -> None:
        self.ids, self.sources = ids, ("made up",)
        self.documents = np.array([[len(ids), len(ids), len(ids), 0]])

    def __len__(self) -> int:
        return len(self.ids)

    def read(self, start: int, stop: int) -> np.ndarray:
        return self.ids[start:stop]


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


def write(folder: Path, model: torch.nn.Module) -> None:
    folder.mkdir(exist_ok=True)
    write_model(model, folder)


def pretrain(
    out: Path, world: World = ALONE, *, ids: int = 0, dropout: float = 0.0, family: str = "llama", **changes: object
) -> Summary:
    """Trains into `out`; `ids`: the seed of the text."""
    row = np.cumsum(np.random.default_rng(ids).integers(0, 3, 700)) % VOCABULARY
    sizes = ModelSettings(family=family, width=18, depth=2, heads=3, dropout=dropout)
    model = create(sizes, VOCABULARY, 1, pad_id=0, eos_id=1)
    objective = None
    if family == "t5":
        marks = Marks(VOCABULARY, specials=(0, 1, 15, 16), pad=0, eos=1, sentinels=(16, 15))
        objective = LabelLoss("spans", frozenset({"encoder-decoder"}), Spans(marks))
    return training.pretrain(
        model,
        Text(Row(row[:600]), Row(row[600:])),
        TrainSettings(**{**SETTINGS, **changes}),
        out,
        ModelFiles(write, load_model),
        depends={},
        flops_per_token=1e4,
        objective=objective,
        quiet=True,
        world=world,
    )
