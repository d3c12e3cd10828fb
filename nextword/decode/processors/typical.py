"""Typical sampling: tokens about as surprising as the model expects to be surprised.

A token's surprise is -log p, its mean over the distribution the entropy H. The set takes tokens in the order of
|-log p - H| until their probabilities sum to at least p; so the likeliest token may be out where it is too likely. What
is as far from H as the last one stays in (Meister et al., "Locally Typical Sampling", 2022).
"""

from collections.abc import Sequence

from torch import Tensor

from nextword.decode.history import History, column
from nextword.decode.settings import SamplingSettings

PLACE = 140
ROUNDING = 1e-7  # as in top-p


def active(row: SamplingSettings) -> bool:
    """Whether it changes anything for this row; at temperature 0 the likeliest is taken in any case."""
    return row.typical_p < 1 and row.temperature > 0


def process(logits_BV: Tensor, rows: Sequence[History]) -> Tensor:
    """Logits with -inf outside of each row's typical set."""
    logp_BV = logits_BV.double().log_softmax(-1)
    entropy_B1 = -(logp_BV * logp_BV.exp()).nansum(-1, keepdim=True)  # 0 · log 0 is NaN here and 0 in the sum
    sorted_BV, order_BV = (-logp_BV - entropy_B1).abs().sort(dim=-1)
    sums_BV = logp_BV.exp().gather(-1, order_BV).cumsum(-1)
    shares_B1 = column((row.settings.typical_p for row in rows), sums_BV) - ROUNDING
    last_B1 = (sums_BV < shares_B1).sum(-1, keepdim=True).clamp(max=logits_BV.shape[-1] - 1)
    outside_BV = (-logp_BV - entropy_B1).abs() > sorted_BV.gather(-1, last_B1)
    return logits_BV.masked_fill(outside_BV, float("-inf"))
