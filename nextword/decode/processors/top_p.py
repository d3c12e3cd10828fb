"""Top-p, nucleus sampling: the smallest set of likeliest tokens whose probabilities sum to at least p.

With probabilities .5 .3 .2 and p = .8 the set is the first two, with p = .81 all three. What is left is renormalised by
the softmax that follows (Holtzman et al., "The Curious Case of Neural Text Degeneration", 2020).
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from nextword.decode.settings import SamplingSettings

PLACE = 3  # after temperature and top-k: p is a share of what they leave
ROUNDING = 1e-7  # so far may a sum fall short of p through the rounding of fp32 logits


def active(row: SamplingSettings) -> bool:
    """Whether it changes anything for this row."""
    return row.top_p < 1


def process(logits_BV: Tensor, rows: Sequence[SamplingSettings]) -> Tensor:
    """Logits with -inf outside of each row's nucleus."""
    shares_B = torch.tensor([row.top_p for row in rows], dtype=torch.float64, device=logits_BV.device)
    sorted_BV, order_BV = logits_BV.sort(dim=-1, descending=True, stable=True)
    probabilities_BV = sorted_BV.double().softmax(-1)
    before_BV = probabilities_BV.cumsum(-1) - probabilities_BV  # what the likelier tokens sum to
    outside_BV = (before_BV >= shares_B[:, None] - ROUNDING) & (shares_B[:, None] < 1)
    outside_BV[:, 0] = False  # the likeliest token always stays
    return logits_BV.masked_fill(outside_BV.scatter(-1, order_BV, outside_BV), float("-inf"))
