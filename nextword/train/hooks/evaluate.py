"""Looks at the validation loss every so often and at the end; keeps the best; stops a run that gets no better."""

import torch

from nextword.core.meter import Meter
from nextword.train.hook import Hook, Record
from nextword.train.run import Run
from nextword.train.validation import Validation


class Evaluate(Hook):
    """Adds `validation_loss` and the objective's metrics to the record.

    After `patience` looks without a new best (0: never) the run ends.
    """

    def __init__(self, validation: Validation, every: int, patience: int, meter: Meter) -> None:
        self.validation, self.every, self.patience, self.meter = validation, every, patience, meter

    def step(self, run: Run, record: Record) -> None:
        """Evaluates when it is time."""
        run.improved = False
        if run.at.step % self.every and run.at.ended is None:
            return
        run.training(False)
        with run.averaged():
            found = look(run, self.validation)
        run.training(True)
        at, loss = run.at, found["validation_loss"]
        record |= found
        at.validation_loss, at.metrics = loss, {name: found[name] for name in found if name != "validation_loss"}
        if at.best_loss is None or loss < at.best_loss:
            at.best_loss, at.best_step, at.waited, run.improved = loss, at.step, 0, True
            at.best_metrics = at.metrics
        else:
            at.waited += 1
        if self.patience and at.waited >= self.patience and at.ended is None:
            at.ended = "patience"
        self.meter.go()


@torch.no_grad()
def look(run: Run, validation: Validation) -> dict[str, float]:
    """The validation loss and metrics of the run's model as it stands."""
    return run.weights.call(lambda model: validation.look(model, run.device, run.world))
