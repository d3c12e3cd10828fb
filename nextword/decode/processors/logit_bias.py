"""Logit bias: a number is added to the scores of chosen tokens, as OpenAI's interface has it.

z_t ← z_t + b_t. A bias of ln 2 doubles a token's odds; 100 all but forces it, -100 all but bans it.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from nextword.decode.history import History
from nextword.decode.settings import SamplingSettings

PLACE = 10  # first, on the model's own scores


def active(row: SamplingSettings) -> bool:
    """Whether it changes anything for this row."""
    return bool(row.logit_bias)


def process(logits_BV: Tensor, rows: Sequence[History]) -> Tensor:
    """Each row's logits with its biases added."""
    places = [place for place, row in enumerate(rows) for _ in row.settings.logit_bias]
    tokens = [token for row in rows for token in row.settings.logit_bias]
    values = [value for row in rows for value in row.settings.logit_bias.values()]
    index = tuple(torch.tensor(numbers, device=logits_BV.device) for numbers in (places, tokens))
    return logits_BV.index_put(index, torch.tensor(values).to(logits_BV), accumulate=True)
