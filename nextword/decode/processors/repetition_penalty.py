"""Repetition penalty: tokens that have occurred, in the prompt or since, become less likely by a factor.

z_t ← z_t / θ where z_t > 0, else z_t · θ (θ > 1 penalises, θ < 1 encourages). However often a token occurred, it counts
once. Keskar et al., "CTRL: A Conditional Transformer Language Model for Controllable Generation", 2019, divide always,
which would reward a token with a negative score; the product is what every implementation does since.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import pad

from nextword.decode.history import History, column, together
from nextword.decode.settings import SamplingSettings

PLACE = 20


def active(row: SamplingSettings) -> bool:
    """Whether it changes anything for this row."""
    return row.repetition_penalty != 1


def process(logits_BV: Tensor, rows: Sequence[History]) -> Tensor:
    """Each row's logits with its tokens' scores divided or multiplied."""
    vocab_size = logits_BV.shape[-1]
    penalty_B1 = column((row.settings.repetition_penalty for row in rows), logits_BV)
    ids_BT = together((row.seen for row in rows), vocab_size, logits_BV)
    padded_BV = pad(logits_BV, (0, 1))  # a column for what fills up shorter rows
    old_BT = padded_BV.gather(-1, ids_BT)
    new_BT = torch.where(old_BT > 0, old_BT / penalty_B1, old_BT * penalty_B1)
    return padded_BV.scatter(-1, ids_BT, new_BT)[:, :vocab_size]
