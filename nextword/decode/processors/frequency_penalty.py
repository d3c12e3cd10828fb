"""Frequency penalty: every token that has been generated loses in proportion to how often it came.

z_t ← z_t - α c_t with c_t the count of t among the new tokens, the formula of OpenAI's interface. The prompt does not
count. α < 0 encourages repetition.
"""

from collections.abc import Sequence

from torch import Tensor
from torch.nn.functional import pad

from nextword.decode.history import History, column, together
from nextword.decode.settings import SamplingSettings

PLACE = 31


def active(row: SamplingSettings) -> bool:
    """Whether it changes anything for this row."""
    return row.frequency_penalty != 0


def process(logits_BV: Tensor, rows: Sequence[History]) -> Tensor:
    """Each row's logits, less its penalty for each time that a token has been generated."""
    vocab_size = logits_BV.shape[-1]
    penalty_B1 = column((row.settings.frequency_penalty for row in rows), logits_BV)
    ids_BT = together((row.new for row in rows), vocab_size, logits_BV)
    padded_BV = pad(logits_BV, (0, 1))  # a column for what fills up shorter rows
    return padded_BV.scatter_add(-1, ids_BT, -penalty_B1.expand(ids_BT.shape))[:, :vocab_size]
