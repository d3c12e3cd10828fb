"""The calm line of progress: step, loss, speed, utilisation, memory, time left."""

from nextword.core.meter import Meter, peak_memory
from nextword.core.progress import Progress, quantity
from nextword.train.hook import Hook, Record
from nextword.train.run import Run

SMOOTHING = 0.9  # of the shown loss: each step's own jumps about


class Show(Hook):
    """Updates a progress line after each step."""

    def __init__(self, line: Progress, meter: Meter) -> None:
        self.line, self.meter = line, meter
        self.loss: float | None = None

    def step(self, run: Run, record: Record) -> None:
        """Shows the step's figures."""
        loss = record["loss"]
        self.loss = loss if self.loss is None else SMOOTHING * self.loss + (1 - SMOOTHING) * loss
        figures = {"loss": f"{self.loss:.3f}", "speed": f"{quantity(self.meter.tokens_per_second)} tokens/s"}
        if run.at.validation_loss is not None:
            figures["validation"] = f"{run.at.validation_loss:.3f}"
        for name, value in run.at.metrics.items():
            if name.endswith("_accuracy"):
                figures[name.removesuffix("_accuracy")] = f"{100 * value:.0f}%"
        figures["MFU"] = f"{100 * self.meter.utilisation:.0f}%"
        figures["memory"] = f"{quantity(peak_memory(run.device))}B"
        self.line.update(run.at.step, **figures)
