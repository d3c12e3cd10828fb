"""Training on trial: runs of a few small steps on the subject's own text, by the code that trains."""

from typing import cast

import numpy as np
from torch import nn

from nextword.models.family import Storable
from nextword.train.pretrain import Text, assemble
from nextword.train.run import Run
from nextword.train.settings import TrainSettings
from nextword.verify.subject import Ids, Subject

STEPS = 4
ROWS, LENGTH = 2, 16
UNTRAINED = "it is counted, without gradients and steps; counting begins anew when it was interrupted"


class Tokens:
    """Ids in memory as the text that is trained on: one document."""

    def __init__(self, ids: Ids) -> None:
        self.ids = ids
        self.documents = np.array([[len(ids), 0, 0, 0]])
        self.sources = ("the text of the check",)

    def __len__(self) -> int:
        return len(self.ids)

    def read(self, start: int, stop: int) -> Ids:
        """The ids from `start` to `stop`."""
        return self.ids[start:stop]


def begin(subject: Subject, model: Storable, rows: int = ROWS, micro: int | None = None) -> Run:
    """A run of `model` at its first step, with `rows` rows a step, `micro` of them computed at once."""
    length = min(LENGTH, subject.longest)
    settings = TrainSettings(steps=STEPS, batch=rows, micro_batch=micro, length=length, warmup=0, precision="fp32")
    return assemble(cast(nn.Module, model), Text(Tokens(subject.tokens)), settings, "fp32")


def untrained(subject: Subject) -> str | None:
    """Why a model that counts has nothing to compare; None for one that is trained by gradients."""
    return None if isinstance(subject.model, nn.Module) else UNTRAINED
