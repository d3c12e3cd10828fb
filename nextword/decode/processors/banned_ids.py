"""Banned sequences of tokens: the last token of a sequence cannot be chosen where the others stand just before it.

A sequence of one token bans it everywhere. The prompt counts: what it begins must not be completed. Whoever thinks of
words rather than tokens wants `banned`, since a word can be cut into tokens in several ways.
"""

from collections.abc import Sequence

from torch import Tensor

from nextword.decode.history import History
from nextword.decode.settings import SamplingSettings

PLACE = 50


def active(row: SamplingSettings) -> bool:
    """Whether it changes anything for this row."""
    return bool(row.banned_ids)


def process(logits_BV: Tensor, rows: Sequence[History]) -> Tensor:
    """Logits with -inf for what would complete one of each row's sequences."""
    logits_BV = logits_BV.clone()
    for place, row in enumerate(rows):
        longest = max(map(len, row.settings.banned_ids))
        seen = (None, *row.seen[-longest:].tolist())  # with something in front that no sequence begins with
        last = [ids[-1] for ids in row.settings.banned_ids if seen[len(seen) - len(ids) + 1 :] == ids[:-1]]
        logits_BV[place, last] = float("-inf")
    return logits_BV
