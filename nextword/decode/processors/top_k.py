"""Top-k: only the k likeliest tokens can be chosen (Fan et al., "Hierarchical Neural Story Generation", 2018).

Tokens as likely as the k-th stay in, so that the result does not depend on an order among equals.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from nextword.decode.history import History
from nextword.decode.settings import SamplingSettings

PLACE = 110


def active(row: SamplingSettings) -> bool:
    """Whether it changes anything for this row; at temperature 0 the likeliest is taken in any case."""
    return row.top_k is not None and row.temperature > 0


def process(logits_BV: Tensor, rows: Sequence[History]) -> Tensor:
    """Logits with -inf outside of each row's k largest."""
    vocab_size = logits_BV.shape[-1]
    counts_B = torch.tensor([min(row.settings.top_k or vocab_size, vocab_size) for row in rows])
    largest_BK = logits_BV.topk(int(counts_B.max()), dim=-1).values
    threshold_B1 = largest_BK.gather(-1, counts_B.to(logits_BV.device)[:, None] - 1)
    return logits_BV.masked_fill(logits_BV < threshold_B1, float("-inf"))
