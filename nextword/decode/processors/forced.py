"""Forced tokens: at given places of the new text a given token, whatever the scores say.

Place 0 is the first new token, -1 the last that may be generated (where `max_tokens` ends the text). BART forces its
end token there, multilingual translators the language's token at 0.
"""

from collections.abc import Sequence

from torch import Tensor

from nextword.decode.history import History
from nextword.decode.settings import SamplingSettings

PLACE = 80  # after all bans: what is forced is forced


def active(row: SamplingSettings) -> bool:
    """Whether it changes anything for this row."""
    return bool(row.forced)


def process(logits_BV: Tensor, rows: Sequence[History]) -> Tensor:
    """Where a row's next token is forced, 0 for it and -inf for all others."""
    logits_BV = logits_BV.clone()
    for place, row in enumerate(rows):
        token = row.settings.forced.get(row.length - row.start, row.settings.forced.get(-row.left))
        if token is not None:
            logits_BV[place] = float("-inf")
            logits_BV[place, token] = 0
    return logits_BV
