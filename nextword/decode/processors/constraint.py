"""A constraint: tokens with which the text could no longer be what is asked for cannot be chosen.

What is asked for is a regular expression, a JSON Schema or a grammar (`nextword/decode/constrain`). What is left is
renormalised by the softmax that follows. This is not the model's distribution given that the text satisfies the
grammar: a beginning is not weighed by what may still become of it.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from nextword.decode.history import History
from nextword.decode.settings import CONSTRAINTS, SamplingSettings

PLACE = 70  # after bans, so that what is forbidden twice is seen


def active(row: SamplingSettings) -> bool:
    """Whether it changes anything for this row."""
    return any(getattr(row, name) is not None for name in CONSTRAINTS)


def process(logits_BV: Tensor, rows: Sequence[History]) -> Tensor:
    """Logits with -inf for tokens that the grammar of each row does not allow next."""
    allowed_BV = torch.from_numpy(np.stack([row.guide.allowed for row in rows]))
    return logits_BV.masked_fill(~allowed_BV.to(logits_BV.device), float("-inf"))
