"""Eta sampling: tokens with a probability of at least η = min(ε, √ε · exp(-H)), and the likeliest in any case.

As epsilon sampling, but where the entropy H is high, unlikely tokens are no mistake and the bar is lower (Hewitt,
Manning, Liang, "Truncation Sampling as Language Model Desmoothing", 2022, who use ε from 0.0003 to 0.002).
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from nextword.decode.history import History, column
from nextword.decode.processors.epsilon import cut
from nextword.decode.settings import SamplingSettings

PLACE = 160


def active(row: SamplingSettings) -> bool:
    """Whether it changes anything for this row; at temperature 0 the likeliest is taken in any case."""
    return row.eta > 0 and row.temperature > 0


def process(logits_BV: Tensor, rows: Sequence[History]) -> Tensor:
    """Logits with -inf for tokens less likely than each row's η."""
    logp_BV = logits_BV.double().log_softmax(-1)
    entropy_B1 = -(logp_BV * logp_BV.exp()).nansum(-1, keepdim=True)  # 0 · log 0 is NaN here and 0 in the sum
    epsilon_B1 = column((math.log(row.settings.eta) for row in rows), logp_BV)
    return cut(logits_BV, torch.minimum(epsilon_B1, epsilon_B1 / 2 - entropy_B1))
