"""Presence penalty: every token that has been generated loses the same, however often it came.

z_t ← z_t - α for each t among the new tokens, the formula of OpenAI's interface. The prompt does not count: it is there
to be answered. α < 0 encourages repetition.
"""

from collections.abc import Sequence

from torch import Tensor
from torch.nn.functional import pad

from nextword.decode.history import History, column, together
from nextword.decode.settings import SamplingSettings

PLACE = 30


def active(row: SamplingSettings) -> bool:
    """Whether it changes anything for this row."""
    return row.presence_penalty != 0


def process(logits_BV: Tensor, rows: Sequence[History]) -> Tensor:
    """Each row's logits, less its penalty where a token has been generated."""
    vocab_size = logits_BV.shape[-1]
    penalty_B1 = column((row.settings.presence_penalty for row in rows), logits_BV)
    ids_BT = together((row.new for row in rows), vocab_size, logits_BV)
    padded_BV = pad(logits_BV, (0, 1))  # a column for what fills up shorter rows
    return padded_BV.scatter(-1, ids_BT, padded_BV.gather(-1, ids_BT) - penalty_B1)[:, :vocab_size]
