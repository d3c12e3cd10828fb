"""Heads that say something of a text other than which token stands where or comes next: one mechanism for all of them.

    y = W' prepare(pool(h)) + b'          prepare(x) = norm(f(W x + b)); a head may lack the pool, the layer or the norm

    next sentence, sentence order     from [CLS]      2 classes      BERT (2019), ALBERT (2020)
    replaced token                    each token      its log-odds   ELECTRA (2020)
    sequence                          [CLS], mean     its classes, or one number (regression, reward)
                                      or the last     of a decoder, which has seen all others
    token                             each token      its classes
    span                              each token      log-odds to be the first and the last of the answer
    pooled                            from [CLS]      the prepared vector itself
    vector                            an end token    a vector trained to stand for the text: CLIP (2021)

Sequence, token and span fine-tune a model for a task (Radford et al., 2018; Devlin et al., "BERT", 2019, section 4). A
model has its heads by name, and a further one can be put on any encoder.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nextword.models.base import Batch
from nextword.nn.dropout import dropout, unchanged
from nextword.nn.head import Transform
from nextword.nn.init import normal, zeros
from nextword.nn.norm import NormSettings

SEQUENCE, TOKEN, SPAN, POOLED, VECTOR = "sequence", "token", "span", "pooled", "vector"
NEXT_SENTENCE, REPLACED_TOKEN = "next_sentence", "replaced_token"


@dataclass(frozen=True)
class FurtherHeadSettings:
    """What a head is made of.

    labels: how many scores it gives; 0 is the prepared vector, None one number without an axis of its own; bias: of the
    scores. pool: a key of POOLS, None for each token; mark: the id by which it finds its token. transform: the
    activation of the layer before, None without one; transform_bias and norm: its bias and the norm behind it. dropout:
    before the scores.
    """

    name: str
    width: int
    labels: int | None
    pool: str | None = None
    transform: str | None = None
    transform_bias: bool = True
    norm: NormSettings | None = None
    dropout: float = 0.0
    bias: bool = True
    mark: int | None = None


Pool = Callable[[Tensor, Batch, int | None], Tensor]


def mean(hidden_BTD: Tensor, batch: Batch, mark: int | None) -> Tensor:
    """The mean over a text's real tokens, (B, D)."""
    if batch.mask_BT is None:
        return hidden_BTD.mean(1)
    weights_BT1 = batch.mask_BT[..., None].to(hidden_BTD.dtype)
    return (hidden_BTD * weights_BT1).sum(1) / weights_BT1.sum(1)


def first(hidden_BTD: Tensor, batch: Batch, mark: int | None) -> Tensor:
    """A text's first token, (B, D)."""
    return hidden_BTD[:, 0]


def each(hidden_BTD: Tensor, batch: Batch, mark: int | None) -> Tensor:
    """All tokens, (B, T, D)."""
    return hidden_BTD


def last(hidden_BTD: Tensor, batch: Batch, mark: int | None) -> Tensor:
    """The last real token that is not `mark`, the padding's id, which may end texts as well, (B, D)."""
    real_BT = torch.ones_like(batch.ids_BT, dtype=torch.bool) if batch.mask_BT is None else batch.mask_BT
    if mark is not None:
        real_BT = real_BT & (batch.ids_BT != mark)
    return _at(hidden_BTD, (real_BT * torch.arange(real_BT.shape[1], device=real_BT.device)).argmax(-1))


def marked(hidden_BTD: Tensor, batch: Batch, mark: int | None) -> Tensor:
    """The first token that is `mark`, (B, D)."""
    return _at(hidden_BTD, (batch.ids_BT == mark).int().argmax(-1))


def highest(hidden_BTD: Tensor, batch: Batch, mark: int | None) -> Tensor:
    """The first token of the highest id, (B, D)."""
    return _at(hidden_BTD, batch.ids_BT.argmax(-1))


def _at(hidden_BTD: Tensor, places_B: Tensor) -> Tensor:
    return hidden_BTD[torch.arange(len(places_B), device=places_B.device), places_B]


POOLS: dict[str | None, Pool] = {
    "first": first,
    "mean": mean,
    "last": last,
    "marked": marked,
    "highest": highest,
    None: each,
}


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
        self.classes = unchanged
        if settings.labels != 0:
            self.classes = nn.Linear(settings.width, settings.labels or 1, bias=settings.bias)

    def forward(self, hidden_BTD: Tensor, batch: Batch) -> Tensor:
        """`batch`: what was read."""
        scores = self.classes(self.drop(self.prepare(self.pool(hidden_BTD, batch, self.settings.mark)))).float()
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
