"""Heads that say something of an encoder's text other than which token stands where.

    next sentence     softmax(W tanh(W' h_[CLS] + b') + b)     does the second sentence follow the first? (BERT, 2019)
    replaced token    σ(w · gelu(W h_t + b) + b')              was this token replaced? (ELECTRA, Clark et al., 2020)

Each is a module that reads hidden_BTD; a model has them by name in its `heads`, and a further one can be put on any
encoder.
"""

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nextword.nn.init import normal, zeros


class NextSentenceHead(nn.Module):
    """hidden_BTD -> scores (B, 2) from the first position: class 0, the second sentence follows; class 1, it is random.

    The numbering is BERT's.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.pool = nn.Linear(width, width)
        self.classes = nn.Linear(width, 2)

    def forward(self, hidden_BTD: Tensor) -> Tensor:
        """Unnormalised log-probabilities, fp32, (B, 2)."""
        return self.classes(torch.tanh(self.pool(hidden_BTD[:, 0]))).float()

    def initialise(self, std: float, generator: torch.Generator) -> None:
        """Normal weights, zero biases."""
        _draw((self.pool, self.classes), std, generator)


class ReplacedTokenHead(nn.Module):
    """hidden_BTD -> the log-odds (B, T) that a token is not the one that stood there."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.dense = nn.Linear(width, width)
        self.odds = nn.Linear(width, 1)

    def forward(self, hidden_BTD: Tensor) -> Tensor:
        """fp32, (B, T); above 0: replaced."""
        return self.odds(F.gelu(self.dense(hidden_BTD))).squeeze(-1).float()

    def initialise(self, std: float, generator: torch.Generator) -> None:
        """Normal weights, zero biases."""
        _draw((self.dense, self.odds), std, generator)


HEADS: dict[str, type[NextSentenceHead] | type[ReplacedTokenHead]] = {
    "next_sentence": NextSentenceHead,
    "replaced_token": ReplacedTokenHead,
}


def make_heads(names: Iterable[str], width: int) -> nn.ModuleDict:
    """The heads of these names, keys of HEADS."""
    return nn.ModuleDict({name: HEADS[name](width) for name in names})


def _draw(linears: Iterable[nn.Linear], std: float, generator: torch.Generator) -> None:
    for linear in linears:
        normal(linear.weight, std, generator)
        zeros(linear.bias)
