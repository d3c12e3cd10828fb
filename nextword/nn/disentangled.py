"""Disentangled attention: what stands at a place and where it stands ask each other, apart.

    score(t, s) = (q_t · k_s  +  q_t · K_δ  +  k_s · Q_δ) · scale        δ = bucket(t − s)
                   content       content to     position to
                                 position       content                  scale = 1/√(E · number of summands)

K and Q are projections of one table of vectors for relative distances, which all layers share; each layer has matrices
of its own for it, or uses those of its queries and keys. Near distances have a bucket each, far ones share buckets
whose widths grow by a logarithm, up to a farthest. (He et al., "DeBERTa", 2021; matrices shared and buckets: v2.)
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nextword.nn.attention import Attention, AttentionSettings
from nextword.nn.cache import LayerCache, View
from nextword.nn.dropout import dropout, unchanged
from nextword.nn.feedforward import ACTIVATIONS
from nextword.nn.init import normal, zeros
from nextword.nn.mask import Sight
from nextword.nn.norm import NormSettings, make_norm


@dataclass(frozen=True, kw_only=True)
class DisentangledSettings(AttentionSettings):
    """An attention with relative distances.

    asks: contents ask positions. asked: positions ask contents. shared: by the matrices of queries and keys.
    position_dropout falls on the distances' vectors.
    """

    asks: bool = True
    asked: bool = True
    shared: bool = False
    position_dropout: float = 0.0


class DisentangledAttention(Attention):
    """As Attention; `angles` are the vectors of distances, relative_PD, and which of them is whose, index_TS."""

    settings: DisentangledSettings

    def __init__(self, settings: DisentangledSettings) -> None:
        super().__init__(settings)
        width, heads_width = settings.width, settings.heads * settings.head_width
        if settings.asks and not settings.shared:
            self.position_key = nn.Linear(width, heads_width)
        if settings.asked and not settings.shared:
            self.position_query = nn.Linear(width, heads_width)
        self.position_drop = dropout(settings.position_dropout)

    def take(
        self,
        x_BTD: Tensor,
        v_BKTE: Tensor,
        angles: tuple[Tensor, ...],
        sight: Sight,
        view: View | None,
        memory: LayerCache | None,
    ) -> Tensor:
        """What each position takes of the values."""
        settings = self.settings
        q_BHTE, k_BHSE = self.split(self.query(x_BTD)), self.split(self.key(x_BTD))
        bias_BHTS = self.distances(q_BHTE, k_BHSE, *angles) * settings.scale
        if sight.mask is not None:
            bias_BHTS = bias_BHTS.masked_fill(~sight.mask, float("-inf"))
        drop = settings.dropout if self.training else 0.0
        a_BHTE = self.attend(q_BHTE, k_BHSE, v_BKTE, Sight(mask=bias_BHTS), drop, settings.scale)
        return self.output(a_BHTE.transpose(1, 2).flatten(2))

    def distances(self, q_BHTE: Tensor, k_BHSE: Tensor, relative_PD: Tensor, index_TS: Tensor) -> Tensor:
        """The summands of the scores that know of distances."""
        settings, relative_1PD = self.settings, self.position_drop(relative_PD)[None]
        summands = []
        if settings.asks:
            matrix = self.key if settings.shared else self.position_key
            scores_BHTP = q_BHTE @ self.split(matrix(relative_1PD)).mT
            summands.append(scores_BHTP.gather(-1, index_TS.expand(*scores_BHTP.shape[:3], -1)))
        if settings.asked:
            matrix = self.query if settings.shared else self.position_query
            scores_BHSP = k_BHSE @ self.split(matrix(relative_1PD)).mT
            summands.append(scores_BHSP.gather(-1, index_TS.T.expand(*scores_BHSP.shape[:3], -1)).mT)
        return sum(summands[1:], start=summands[0])

    def initialise(self, std: float, output_std: float, generator: torch.Generator) -> None:
        """Normal weights, zero biases."""
        super().initialise(std, output_std, generator)
        for name, linear in self.named_children():
            if name.startswith("position_") and isinstance(linear, nn.Linear):
                normal(linear.weight, std, generator)
                zeros(linear.bias)


class Distances(nn.Module):
    """The table of vectors for relative distances, and which row a pair of places has."""

    def __init__(self, width: int, span: int, farthest: int | None, norm: NormSettings | None) -> None:
        super().__init__()
        self.span, self.farthest = span, farthest
        self.weight = nn.Parameter(torch.empty(2 * span, width))
        self.norm = unchanged if norm is None else make_norm(norm)

    def forward(self, time: int) -> tuple[Tensor, Tensor]:
        """relative_PD, and index_TS of texts of `time` tokens."""
        places = torch.arange(time, device=self.weight.device)
        distance_TS = places[:, None] - places
        if self.farthest is not None:
            distance_TS = bucket(distance_TS, self.span, self.farthest)
        return self.norm(self.weight), (distance_TS + self.span).clamp(0, 2 * self.span - 1)

    def initialise(self, std: float, generator: torch.Generator) -> None:
        """N(0, std²); the norm starts as ones."""
        normal(self.weight, std, generator)
        if isinstance(self.norm, nn.Module):
            self.norm.initialise()


def bucket(distance: Tensor, count: int, farthest: int) -> Tensor:
    """`distance` itself up to ±count/2; beyond, a number that grows by a logarithm to ±(count - 1) at farthest - 1."""
    near = count // 2
    far = distance.abs().clamp(min=max(near, 1)).float()
    steps = torch.log(far / near) / torch.log(torch.tensor((farthest - 1) / near)) * (near - 1)
    return torch.where(distance.abs() <= near, distance, distance.sign() * (steps.ceil().long() + near))


class Convolution(nn.Module):
    """norm(y + f(convolution of x over neighbouring places)): what the first layer adds to its output y (version 2)."""

    def __init__(self, norm: NormSettings, kernel: int, groups: int, activation: str, share: float) -> None:
        super().__init__()
        self.conv = nn.Conv1d(norm.width, norm.width, kernel, padding=kernel // 2, groups=groups)
        self.activation = ACTIVATIONS[activation].function
        self.norm = make_norm(norm)
        self.drop = dropout(share)

    def forward(self, x_BTD: Tensor, y_BTD: Tensor) -> Tensor:
        """x_BTD is what the layer read, 0 where there is padding; y_BTD what it made of it."""
        seen_BTD = self.conv(x_BTD.transpose(1, 2)).transpose(1, 2)
        return self.norm(y_BTD + self.activation(self.drop(seen_BTD)))

    def initialise(self, std: float, generator: torch.Generator) -> None:
        """Normal weights, zero biases."""
        normal(self.conv.weight, std, generator)
        zeros(self.conv.bias)
        self.norm.initialise()


def scale_of(head_width: int, asks: bool, asked: bool) -> float:
    """1/√(E · number of summands)."""
    return 1 / math.sqrt(head_width * (1 + asks + asked))
