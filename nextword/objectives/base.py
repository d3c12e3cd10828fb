"""What a model is trained for: an objective turns a batch into a loss, given as sums with their counts.

Loss = sum over its terms of weight * total / count. Because totals and counts add up over parts of a batch, a batch can
be computed in parts (gradient accumulation, data parallelism) with exactly the gradient of the whole, also when the
parts hold different numbers of predictions. `counts` says the whole batch's counts beforehand, without running the
model, so that each part's sum is divided once, by the whole.
"""

from typing import Protocol

from nextword.models.base import Batch, LanguageModel
from nextword.nn.loss import Loss


class Objective(Protocol):
    """A training objective. `additive`: False where it needs the whole batch at once; such a batch is never split."""

    additive: bool

    def counts(self, batch: Batch) -> dict[str, int]:
        """How many predictions each term of the loss has in this batch."""
        ...

    def __call__(self, model: LanguageModel, batch: Batch) -> Loss:
        """The loss of the batch, or of a part of one: every term as a sum and its count."""
        ...
