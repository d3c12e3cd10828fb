"""When training is broken: a loss that is not finite, or one that has stayed far above where it began.

    diverged    HIGH_STEPS steps in a row had a loss above first + max(RISE · |first|, LEAST_RISE)

with `first` the loss of the first step. A fresh model begins near ln V, the loss of one who knows nothing; a fine-tuned
one begins with what it knows. Whoever stays far above that has unlearnt more than there was, and a lower learning rate
is what helps. A spike that recovers breaks the row; a batch or a length that grows only lowers the loss; a multiple of
`first` means the same for an objective whose terms are weighted (ELECTRA begins near 40). Runs that get stuck, worse
than their best but better than at first, are for `train.patience` to end. What is counted is saved with the run, so
that a resumed run stops where an uninterrupted one stops.
"""

import math

from nextword.data.labelled import Labelled
from nextword.data.stream import documents_of
from nextword.train.hook import Record
from nextword.train.run import Progress, Run

HIGH_STEPS = 20
RISE = 0.5  # measured: rates that are too high by a factor of 100 give 2 to 1,000 times the first loss
LEAST_RISE = 1.0  # nats, where the first loss is near 0: there a multiple of it means little


def limit(first: float) -> float:
    """The loss above which a step counts as high, for a run that began with the loss `first`.

    >>> limit(8.0), limit(0.5)
    (12.0, 1.5)
    """
    return first + max(RISE * abs(first), LEAST_RISE)


def diverged(at: Progress, loss: float) -> bool:
    """Takes the loss of the next step in; whether the run has diverged with it."""
    if at.first_loss is None:
        at.first_loss = loss
    at.high_steps = at.high_steps + 1 if loss > limit(at.first_loss) else 0
    return at.high_steps >= HIGH_STEPS


def broken(run: Run, record: Record) -> bool:
    """Whether loss or gradient is not finite (fp16 expects gradients that are not, and lowers its scale)."""
    return not (math.isfinite(record["loss"]) and (math.isfinite(record["grad_norm"]) or run.weights.scaling))


def not_finite(run: Run, batch: Labelled, record: Record) -> str:
    """What went wrong, where, and what may help."""
    spans = [(start, stop) for part in run.world.gather(batch.spans) for start, stop in part]
    what = "loss" if not math.isfinite(record["loss"]) else "gradient"
    return (
        f"the {what} of step {record['step']} is not finite (loss {record['loss']:.4g}, gradient norm "
        f"{record['grad_norm']:.4g}); its rows came from {documents_of(run.tokens, spans)}; {advice(run)}, a longer "
        "--train.warmup, or --train.precision=fp32; "
    )


def too_high(run: Run, record: Record) -> str:
    """What a diverged run looks like, and what helps."""
    at, now = run.at, record["loss"]
    return (
        f"training diverges: the loss began at {at.first_loss:.4g} and was above {limit(at.first_loss or 0):.4g} "
        f"in each of the last {at.high_steps} steps (step {record['step']}: {now:.4g}); {advice(run)} or a longer "
        "--train.warmup; "
    )


def advice(run: Run) -> str:
    """Half the learning rate, as it is typed."""
    return f"try half the learning rate in another --out: --train.learning_rate={run.settings.learning_rate / 2:g}"
