"""Top-p, nucleus sampling: the smallest set of likeliest tokens whose probabilities sum to at least p.

With probabilities .5 .3 .2 and p = .8 the set is the first two, with p = .81 all three. What is left is renormalised by
the softmax that follows (Holtzman et al., "The Curious Case of Neural Text Degeneration", 2020). Among equals at the
border those with the smaller ids are in the set.

A nucleus is small, so the few likeliest tokens are looked at first; the whole vocabulary is sorted, which takes far
longer, only where they do not reach p.
"""

from collections.abc import Sequence

from torch import Tensor

from nextword.decode.history import History, column
from nextword.decode.settings import SamplingSettings

PLACE = 120  # after temperature and top-k: p is a share of what they leave
ROUNDING = 1e-7  # so far may a sum fall short of p through the rounding of fp32 logits
FEW = 512  # of the likeliest tokens


def active(row: SamplingSettings) -> bool:
    """Whether it changes anything for this row; at temperature 0 the likeliest is taken in any case."""
    return row.top_p < 1 and row.temperature > 0


def process(logits_BV: Tensor, rows: Sequence[History]) -> Tensor:
    """Logits with -inf outside of each row's nucleus."""
    shares_B1 = column((row.settings.top_p for row in rows), logits_BV.double()) - ROUNDING
    total_B1 = logits_BV.double().logsumexp(-1, keepdim=True)
    largest_BK = logits_BV.topk(min(FEW, logits_BV.shape[-1]), dim=-1).values
    sums_BK = (largest_BK.double() - total_B1).exp().cumsum(-1)
    if bool((sums_BK[:, -1:] < shares_B1).any()):
        largest_BK = logits_BV.sort(dim=-1, descending=True).values
        sums_BK = (largest_BK.double() - total_B1).exp().cumsum(-1)
    counts_B1 = ((sums_BK < shares_B1).sum(-1, keepdim=True) + 1).clamp(max=largest_BK.shape[-1])
    border_B1 = largest_BK.gather(-1, counts_B1 - 1)  # the score of the last that is in
    equal_BV = logits_BV == border_B1
    above_BV = logits_BV > border_B1
    room_B1 = counts_B1 - above_BV.sum(-1, keepdim=True)
    return logits_BV.masked_fill(~(above_BV | (equal_BV & (equal_BV.cumsum(-1) <= room_B1))), float("-inf"))
