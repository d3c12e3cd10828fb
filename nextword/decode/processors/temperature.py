"""Temperature: softmax(logits / T).

T < 1 sharpens the distribution, T > 1 flattens it (T → ∞ is uniform), T = 1 leaves it. T = 0 is greedy: a case of its
own, which the strategy treats, since nothing can be divided by 0.
"""

from collections.abc import Sequence

from torch import Tensor

from nextword.decode.history import History, column
from nextword.decode.settings import SamplingSettings

PLACE = 100  # before all that cuts: top-k, top-p, ... look at the distribution that it gives


def active(row: SamplingSettings) -> bool:
    """Whether it changes anything for this row."""
    return row.temperature not in {0.0, 1.0}


def process(logits_BV: Tensor, rows: Sequence[History]) -> Tensor:
    """Each row's logits divided by its temperature."""
    return logits_BV / column((row.settings.temperature for row in rows), logits_BV)
