"""Resumed = uninterrupted: training that is stopped, saved and taken up again ends where it would have ended anyway.

Broken by a checkpoint without the optimizer's running means, by a data order that begins anew, by random numbers of
dropout that are not those it would have drawn. It shows as a jump in the loss after every restart, and as a model that
nobody can make again.
"""

from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from nextword.core.meter import Meter
from nextword.models.checkpoint import load_model, write_model
from nextword.models.family import Storable
from nextword.train import checkpoint, loop
from nextword.train.hook import Hook, Record
from nextword.train.image import Image
from nextword.train.run import Run
from nextword.verify.equality import Equality, Measured, exact
from nextword.verify.subject import Subject
from nextword.verify.training import STEPS, begin, untrained

STOP = 1  # the step after which one of the two runs is interrupted
LOSSES = "losses of the steps"


class Stop(Hook):
    """Interrupts a run after a step, as Ctrl-C does, and notes the losses."""

    def __init__(self, after: int) -> None:
        self.after, self.losses = after, list[float]()

    def step(self, run: Run, record: Record) -> None:
        """Looks at the count."""
        self.losses.append(record["loss"])
        run.interrupted = run.at.step == self.after


def measure(subject: Subject) -> Measured:
    """Two runs from the same weights; one of them by way of a checkpoint on the disk."""
    model, note = subject.small()
    wanted = sit(begin(subject, model), STEPS)
    first = begin(subject, subject.small()[0])
    before = sit(first, STOP)
    path = save(first, subject.scratch / "resumed")
    again = begin(subject, subject.small()[0])
    torch.rand(1)  # another process would have drawn something by now, or nothing
    model = load_model(path / checkpoint.MODEL)
    again.restore(cast(nn.Module, model), path / checkpoint.TENSORS, checkpoint.read(path))
    found = sit(again, STEPS)
    found[LOSSES] = torch.cat([before[LOSSES], found[LOSSES]])
    reason = "exact: the same operations on the same numbers, on the same machine"
    return exact(((name, found[name], tensor) for name, tensor in wanted.items()), reason, note)


def sit(run: Run, after: int) -> dict[str, Tensor]:
    """Trains until the step `after`; all that the run then consists of.

    That is weights, the optimizer's means, random numbers, the place in the data, and the losses of this sitting.
    """
    stop = Stop(after)
    loop.train(run, [stop], Meter(1.0, 1.0, run.device), lambda steps: "")
    run.model.eval()
    place = {f"place in the data, {key}": torch.tensor(value) for key, value in run.at.place.items()}
    losses = torch.tensor(stop.losses, dtype=torch.float64)
    return {**run.model.state_dict(), **run.tensors(), **place, LOSSES: losses}


def save(run: Run, out: Path) -> Path:
    """Writes a checkpoint as training does."""
    tensors = run.tensors()
    image = Image(tensors)
    image.take(tensors)

    def write(folder: Path) -> None:
        folder.mkdir()
        write_model(cast(Storable, run.model), folder)

    return checkpoint.write(out, run.to_json(), image, write, keep=1)


EQUALITY = Equality(
    title="resumed = uninterrupted",
    says=f"weights and optimizer after {STEPS} steps of training, with and without a checkpoint after step {STOP}",
    obstacle=untrained,
    measure=measure,
)
