"""No n-gram twice: a token that would complete n tokens which stand in the text already cannot be chosen.

With n = 3 and "the cat sat ... the cat", "sat" is banned. The prompt counts (Paulus, Xiong, Socher, "A Deep Reinforced
Model for Abstractive Summarization", 2018, for trigrams of summaries). n = 1 allows each token once.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from nextword.decode.history import History
from nextword.decode.settings import SamplingSettings

PLACE = 40


def active(row: SamplingSettings) -> bool:
    """Whether it changes anything for this row."""
    return row.no_repeat_ngram is not None


def process(logits_BV: Tensor, rows: Sequence[History]) -> Tensor:
    """Logits with -inf for each row's completions of n-grams that it has."""
    logits_BV = logits_BV.clone()
    for place, row in enumerate(rows):
        size = row.settings.no_repeat_ngram
        assert size is not None, "only active rows come here"
        if row.length >= size:
            ngrams_NG = np.lib.stride_tricks.sliding_window_view(row.seen, size)
            begun = (ngrams_NG[:, :-1] == row.seen[row.length - size + 1 :]).all(-1)
            logits_BV[place, torch.from_numpy(ngrams_NG[begun, -1]).to(logits_BV.device)] = float("-inf")
    return logits_BV
