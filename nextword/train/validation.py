"""The validation loss: the mean negative log-likelihood on a fixed part of text that is never trained on.

The part is made of windows spread evenly over the validation tokens, always the same ones, so that two losses differ by
the model alone. Perplexity is exp of it.
"""

import numpy as np
import torch

from nextword.data.stream import TokenRow, read_windows
from nextword.models.base import Batch, LanguageModel


class Validation:
    """A fixed set of windows of up to `length` tokens, together about `wanted` tokens; `rows` are computed at once."""

    def __init__(self, tokens: TokenRow, length: int, wanted: int, rows: int) -> None:
        self.tokens, self.rows = tokens, rows
        self.length = min(length, len(tokens) - 1)
        most = (len(tokens) - 1) // self.length
        count = max(1, min(wanted // self.length, most))
        self.starts = np.linspace(0, len(tokens) - 1 - self.length, count).astype(np.int64).tolist()

    @property
    def count(self) -> int:
        """Predictions that the loss is the mean of."""
        return len(self.starts) * self.length

    @torch.no_grad()
    def loss(self, model: LanguageModel, device: torch.device) -> float:
        """The mean in nats per token. The model must be in evaluation mode (no dropout)."""
        total = 0.0
        for start in range(0, len(self.starts), self.rows):
            batch = read_windows(self.tokens, self.starts[start : start + self.rows], self.length)
            ids_BT = batch.ids_BT.to(device)
            total -= model.score(Batch(ids_BT[:, :-1]), ids_BT[:, 1:]).double().sum().item()
        return total / self.count
