"""The last step: from a hidden vector to a score for every token of the vocabulary.

    scores = cap(W · prepare(h) + b)          W is the embedding itself where they are tied (Press & Wolf, 2017)

prepare(h) is h; or a layer of its own, norm(f(W' h + b')), before BERT's output; or W' h alone, where the embedding is
narrower (OPT); or h / √D in a tied T5, whose embedding is not small. cap(z) = c · tanh(z / c) keeps scores within ±c
(Gemma 2, 2024).
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nextword.core.errors import SettingsError
from nextword.nn.dropout import unchanged
from nextword.nn.feedforward import ACTIVATIONS
from nextword.nn.init import normal, zeros
from nextword.nn.norm import NormSettings, make_norm
from nextword.nn.tiles import linear


@dataclass(frozen=True)
class HeadSettings:
    """What an output is made of.

    transform: the activation of a layer before it, with the norm behind, as wide as the embedding; its matrix has a
    bias or not (transform_bias). narrow: the width to which a matrix alone brings hidden vectors, where the embedding
    is narrower than they (OPT). scale: of the hidden vector. cap: of scores.
    """

    bias: bool = False
    transform: str | None = None
    norm: NormSettings | None = None
    transform_bias: bool = True
    scale: float = 1.0
    cap: float | None = None
    narrow: int | None = None


class Head(nn.Module):
    """Hidden vectors to scores; `tied`: the matrix belongs to the embedding and is handed in."""

    def __init__(self, settings: HeadSettings, width: int, vocab_size: int, tied: bool) -> None:
        super().__init__()
        self.settings = settings
        inner = settings.narrow or (width if settings.norm is None else settings.norm.width)
        self.weight = None if tied else nn.Parameter(torch.empty(vocab_size, inner))
        self.bias = nn.Parameter(torch.empty(vocab_size)) if settings.bias else None
        self.prepare = self.shrunk if settings.scale != 1.0 else unchanged
        if settings.transform is not None:
            self.prepare = Transform(width, settings.transform, settings.norm, settings.transform_bias)
        if settings.narrow is not None:
            self.prepare = nn.Linear(width, settings.narrow, bias=False)
        self.bound = unchanged if settings.cap is None else self.capped

    def shrunk(self, hidden: Tensor) -> Tensor:
        """scale · h."""
        return hidden * self.settings.scale

    def capped(self, scores: Tensor) -> Tensor:
        """c · tanh(z / c)."""
        return self.settings.cap * torch.tanh(scores / self.settings.cap)

    def forward(self, hidden_ND: Tensor, weight_VD: Tensor) -> Tensor:
        """Scores of every token, fp32, (N, V); `weight_VD` is the head's own or the embedding's matrix."""
        return self.bound(linear(self.prepare(hidden_ND), weight_VD, self.bias).float())

    def initialise(self, std: float, generator: torch.Generator) -> None:
        """Normal weights, zero biases."""
        if self.settings.transform is not None:
            self.prepare.initialise(std, generator)
        if self.settings.narrow is not None:
            normal(self.prepare.weight, std, generator)
        if self.weight is not None:
            normal(self.weight, std, generator)
        zeros(self.bias)


class Transform(nn.Module):
    """norm(f(W h + b)); without a norm, f(W h + b)."""

    def __init__(self, width: int, activation: str, norm: NormSettings | None, bias: bool = True) -> None:
        super().__init__()
        self.dense = nn.Linear(width, width if norm is None else norm.width, bias=bias)
        self.activation = ACTIVATIONS[activation].function
        self.norm = unchanged if norm is None else make_norm(norm)

    def forward(self, hidden: Tensor) -> Tensor:
        """One layer, as wide as the norm behind it."""
        return self.norm(self.activation(self.dense(hidden)))

    def initialise(self, std: float, generator: torch.Generator) -> None:
        """Normal weights, zero biases."""
        normal(self.dense.weight, std, generator)
        zeros(self.dense.bias)
        if isinstance(self.norm, nn.Module):
            self.norm.initialise()


class NoHead(nn.Module):
    """In place of the output of a model that has none: it says what else the model is for."""

    def __init__(self, instead: str) -> None:
        super().__init__()
        self.instead = instead
        self.weight = self.bias = None
        self.settings = HeadSettings(transform="none")

    def forward(self, hidden_ND: Tensor, weight_VD: Tensor) -> Tensor:
        """SettingsError."""
        return self.prepare(hidden_ND)

    def prepare(self, hidden: Tensor) -> Tensor:
        """SettingsError."""
        raise SettingsError(f"this model has no scores over the vocabulary: {self.instead}")

    def initialise(self, std: float, generator: torch.Generator) -> None:
        """Nothing to draw."""
