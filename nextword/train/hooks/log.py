"""Writes one line a step to the run's log, with its speed, utilisation and memory."""

from nextword.core.log import StepLog
from nextword.core.meter import Meter, peak_memory
from nextword.train.hook import Hook, Record
from nextword.train.run import Run


class Log(Hook):
    """Appends each record to `log`; remembers the log's length for the checkpoint that follows."""

    def __init__(self, log: StepLog, meter: Meter, checkpoint_every: int) -> None:
        self.log, self.meter, self.checkpoint_every = log, meter, checkpoint_every

    def step(self, run: Run, record: Record) -> None:
        """Writes the line."""
        record |= {
            "tokens_per_second": round(self.meter.tokens_per_second, 1),
            "utilisation": round(self.meter.utilisation, 4),
            "memory": peak_memory(run.device),
        }
        self.log.write(record)
        if run.last or run.at.step % self.checkpoint_every == 0:
            run.at.log_bytes = self.log.position()
