"""Epsilon sampling: tokens with a probability of at least ε, and the likeliest in any case.

Hewitt, Manning, Liang, "Truncation Sampling as Language Model Desmoothing", 2022, who use 0.0003 to 0.0009.
"""

import math
from collections.abc import Sequence

from torch import Tensor

from nextword.decode.history import History, column
from nextword.decode.settings import SamplingSettings

PLACE = 150


def active(row: SamplingSettings) -> bool:
    """Whether it changes anything for this row; at temperature 0 the likeliest is taken in any case."""
    return row.epsilon > 0 and row.temperature > 0


def process(logits_BV: Tensor, rows: Sequence[History]) -> Tensor:
    """Logits with -inf for tokens less likely than each row's ε."""
    return cut(logits_BV, column((math.log(row.settings.epsilon) for row in rows), logits_BV.double()))


def cut(logits_BV: Tensor, least_B1: Tensor) -> Tensor:
    """-inf where log p is below `least_B1`, but for the likeliest."""
    low_BV = logits_BV.double().log_softmax(-1) < least_B1
    return logits_BV.masked_fill(low_BV & (logits_BV < logits_BV.amax(-1, keepdim=True)), float("-inf"))
