"""Heads that say something of an encoder's text other than which token stands where: one mechanism for all of them.

    y = W' prepare(pool(h)) + b'          prepare(x) = norm(f(W x + b)); a head may lack the pool, the layer or the norm

    next sentence, sentence order     from [CLS]      2 classes      BERT (2019), ALBERT (2020)
    replaced token                    each token      its log-odds   ELECTRA (2020)
    sequence                          [CLS] or mean   its classes, or one number (regression)
    token                             each token      its classes
    span                              each token      log-odds to be the first and the last of the answer
    pooled                            from [CLS]      the prepared vector itself

The last four fine-tune an encoder for a task (Devlin et al., "BERT", 2019, section 4). A model has its heads by name,
and a further one can be put on any encoder.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nextword.nn.dropout import dropout, unchanged
from nextword.nn.head import Transform
from nextword.nn.init import normal, zeros
from nextword.nn.norm import NormSettings

SEQUENCE, TOKEN, SPAN, POOLED = "sequence", "token", "span", "pooled"
NEXT_SENTENCE, REPLACED_TOKEN = "next_sentence", "replaced_token"


@dataclass(frozen=True)
class FurtherHeadSettings:
    """What a head is made of.

    labels: how many scores it gives; 0 is the prepared vector, None one number without an axis of its own. pool: a key
    of POOLS, None for each token. transform: the activation of the layer before, None without one; transform_bias and
    norm: its bias and the norm behind it. dropout: before the scores.
    """

    name: str
    width: int
    labels: int | None
    pool: str | None = None
    transform: str | None = None
    transform_bias: bool = True
    norm: NormSettings | None = None
    dropout: float = 0.0


def mean(hidden_BTD: Tensor, mask_BT: Tensor | None) -> Tensor:
    """The mean over a text's real tokens, (B, D)."""
    if mask_BT is None:
        return hidden_BTD.mean(1)
    weights_BT1 = mask_BT[..., None].to(hidden_BTD.dtype)
    return (hidden_BTD * weights_BT1).sum(1) / weights_BT1.sum(1)


def first(hidden_BTD: Tensor, mask_BT: Tensor | None) -> Tensor:
    """A text's first token, (B, D)."""
    return hidden_BTD[:, 0]


def each(hidden_BTD: Tensor, mask_BT: Tensor | None) -> Tensor:
    """All tokens, (B, T, D)."""
    return hidden_BTD


POOLS: dict[str | None, Callable[[Tensor, Tensor | None], Tensor]] = {"first": first, "mean": mean, None: each}


class FurtherHead(nn.Module):
    """hidden_BTD -> fp32 scores (B, labels) or (B, T, labels), unnormalised log-probabilities or log-odds."""

    def __init__(self, settings: FurtherHeadSettings) -> None:
        super().__init__()
        self.settings = settings
        self.pool = POOLS[settings.pool]
        self.prepare = unchanged
        if settings.transform is not None:
            self.prepare = Transform(settings.width, settings.transform, settings.norm, settings.transform_bias)
        self.drop = dropout(settings.dropout)
        self.classes = unchanged if settings.labels == 0 else nn.Linear(settings.width, settings.labels or 1)

    def forward(self, hidden_BTD: Tensor, mask_BT: Tensor | None = None) -> Tensor:
        """`mask_BT`: which tokens are real; None when all are."""
        scores = self.classes(self.drop(self.prepare(self.pool(hidden_BTD, mask_BT)))).float()
        return scores.squeeze(-1) if self.settings.labels is None else scores

    def initialise(self, std: float, generator: torch.Generator) -> None:
        """Normal weights, zero biases."""
        if isinstance(self.prepare, nn.Module):
            self.prepare.initialise(std, generator)
        if isinstance(self.classes, nn.Linear):
            normal(self.classes.weight, std, generator)
            zeros(self.classes.bias)


def make_heads(settings: Iterable[FurtherHeadSettings]) -> nn.ModuleDict:
    """The heads that the settings describe, by name."""
    return nn.ModuleDict({one.name: FurtherHead(one) for one in settings})
