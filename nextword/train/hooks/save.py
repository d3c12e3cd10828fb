"""Saves a checkpoint every so often and at the end, and the model whenever its validation loss is the best so far."""

from nextword.core.meter import Meter
from nextword.train.hook import Hook, Record
from nextword.train.run import Run
from nextword.train.saver import Saver


class Save(Hook):
    """Hands the run to `saver` when it is time; the writing goes on in the background."""

    def __init__(self, saver: Saver, every: int, meter: Meter) -> None:
        self.saver, self.every, self.meter = saver, every, meter

    def step(self, run: Run, record: Record) -> None:
        """Saves what is due; raises the error of an earlier save that failed."""
        self.saver.check()
        due = run.last or run.at.step % self.every == 0
        if due or run.improved:
            self.saver.save(run, state=due, best=run.improved)
            self.meter.go()

    def end(self, run: Run) -> None:
        """Waits until everything is on the disk."""
        self.saver.wait()
