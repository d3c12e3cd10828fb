"""Min-p: tokens at least p times as likely as the likeliest (Nguyen et al., "Turning Up the Heat", 2024).

The set grows where the model is unsure and shrinks where it is sure. In logarithms: z_t ≥ max z + log p, so that no
softmax is needed.
"""

import math
from collections.abc import Sequence

from torch import Tensor

from nextword.decode.history import History, column
from nextword.decode.settings import SamplingSettings

PLACE = 130


def active(row: SamplingSettings) -> bool:
    """Whether it changes anything for this row; at temperature 0 the likeliest is taken in any case."""
    return row.min_p > 0 and row.temperature > 0


def process(logits_BV: Tensor, rows: Sequence[History]) -> Tensor:
    """Logits with -inf for tokens that are too unlikely beside the likeliest."""
    threshold_B1 = logits_BV.amax(-1, keepdim=True) + column((math.log(row.settings.min_p) for row in rows), logits_BV)
    return logits_BV.masked_fill(logits_BV < threshold_B1, float("-inf"))
