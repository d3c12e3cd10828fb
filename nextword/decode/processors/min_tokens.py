"""A shortest length: the tokens that end a text cannot be chosen before `min_tokens` others were."""

from collections.abc import Sequence

from torch import Tensor

from nextword.decode.history import History
from nextword.decode.settings import SamplingSettings

PLACE = 60


def active(row: SamplingSettings) -> bool:
    """Whether it changes anything for this row."""
    return row.min_tokens > 0


def process(logits_BV: Tensor, rows: Sequence[History]) -> Tensor:
    """Logits with -inf for the end tokens of rows that are still too short."""
    logits_BV = logits_BV.clone()
    for place, row in enumerate(rows):
        if row.length - row.start < row.settings.min_tokens:
            logits_BV[place, list(row.eos_ids)] = float("-inf")
    return logits_BV
