"""Losses as sums with their counts, and cross-entropy that never holds all logits at once."""

from typing import NamedTuple

from torch import Tensor


class Term(NamedTuple):
    """One part of a loss: a sum over predictions, how many they were, and the weight of their mean in the whole.

    Keeping sum and count apart makes gradient accumulation and data parallelism exact: sums add up, counts add up, and
    the division happens once, over everything (the mean of micro-batch means is wrong when their counts differ).
    """

    total: Tensor
    count: Tensor
    weight: float = 1.0


Loss = dict[str, Term]
