"""Relative positions: what is added to the score of a key by how far it is from the query.

    ALiBi   − m_h · distance            m_h = 2^(−8h/H), h = 1 … H: each head forgets at its own pace
            where H is no power of two, h = 1 … P for the largest P below it, then 2^(−8h/2P), h = 1, 3, 5 …
    T5      b_h[bucket(distance)]       a learnt number for each head and each of some 32 ranges of distance

ALiBi (Press, Smith & Lewis, "Train Short, Test Long", 2022) learns nothing and goes on beyond the trained length. T5
(Raffel et al., 2020) has a bucket for each of the nearest distances, then ranges that widen logarithmically up to
`farthest`, beyond which all is one; where both sides are seen, half of the buckets are for what comes after.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nextword.nn.init import normal

SPAN = 8  # of the exponents: the last of a power of two has the slope 2^-8


@dataclass(frozen=True)
class AlibiSettings:
    """ALiBi for so many heads.

    scale: of what is added. rounded: m_h times the key's place in the text is rounded to bf16, as Falcon was trained:
    then it is no longer the distance alone that counts.
    """

    heads: int
    scale: float = 1.0
    rounded: bool = False


@dataclass(frozen=True)
class RelativeSettings:
    """T5's bias: heads, buckets, the distance from which all is one bucket, and whether both sides are seen."""

    heads: int
    buckets: int = 32
    farthest: int = 128
    both_sides: bool = False


class Alibi(nn.Module):
    """Distances to what is added to the scores; no weights."""

    def __init__(self, settings: AlibiSettings) -> None:
        super().__init__()
        self.slopes = [settings.scale * slope for slope in slopes(settings.heads)]

    def forward(self, distance_BTS: Tensor, keys_BS: Tensor, like: Tensor) -> Tensor:
        """−slope · |distance| as (B, H, T, S), in the type of `like`."""
        slopes_H11 = torch.tensor(self.slopes, dtype=like.dtype, device=distance_BTS.device)[:, None, None]
        return -slopes_H11 * distance_BTS.abs()[:, None]

    def initialise(self, std: float, generator: torch.Generator) -> None:
        """Nothing to draw."""


class RoundedAlibi(nn.Module):
    """Places of keys to what is added to the scores of causal attention; no weights.

    slope · place differs from −slope · distance by the query's own, which the softmax does not see; but rounded.
    """

    def __init__(self, settings: AlibiSettings) -> None:
        super().__init__()
        self.slopes, self.scale = slopes(settings.heads), settings.scale

    def forward(self, distance_BTS: Tensor, keys_BS: Tensor, like: Tensor) -> Tensor:
        """round(round(slope) · place) · scale as (B, H, T, S), in the type of `like`."""
        slopes_H1 = torch.tensor(self.slopes, dtype=torch.bfloat16, device=keys_BS.device)[:, None]
        bias_BHS = (slopes_H1 * keys_BS[:, None]).to(like.dtype) * self.scale
        return bias_BHS[:, :, None].expand(-1, -1, distance_BTS.shape[1], -1)

    def initialise(self, std: float, generator: torch.Generator) -> None:
        """Nothing to draw."""


class RelativeBias(nn.Module):
    """Distances to what is added to the scores; one number for each bucket and head, shared by all layers."""

    def __init__(self, settings: RelativeSettings) -> None:
        super().__init__()
        self.settings = settings
        self.weight = nn.Parameter(torch.empty(settings.buckets, settings.heads))

    def forward(self, distance_BTS: Tensor, keys_BS: Tensor, like: Tensor) -> Tensor:
        """The bias as (B, H, T, S); `distance_BTS` is the key's place minus the query's."""
        bucket_BTS = buckets(distance_BTS, self.settings)
        return nn.functional.embedding(bucket_BTS, self.weight).permute(0, 3, 1, 2)

    def initialise(self, std: float, generator: torch.Generator) -> None:
        """N(0, std²)."""
        normal(self.weight, std, generator)


def slopes(heads: int) -> list[float]:
    """2^(−8h/H) for h = 1 … H; between powers of two as the paper's authors' code fills up, and all that came of it."""
    power = 2 ** (heads.bit_length() - 1)
    between = [2 ** (-SPAN * h / (2 * power)) for h in range(1, 2 * (heads - power), 2)]
    return [2 ** (-SPAN * h / power) for h in range(1, power + 1)] + between


def buckets(distance: Tensor, settings: RelativeSettings) -> Tensor:
    """The bucket of each distance (key's place minus query's), int64; T5's own formula, step by step."""
    count, offset = settings.buckets, torch.zeros_like(distance)
    if settings.both_sides:
        count //= 2
        offset = (distance > 0) * count
        away = distance.abs()
    else:
        away = (-distance).clamp(min=0)
    near = count // 2  # so many distances have a bucket of their own
    ranges = torch.log(away.float() / near) / math.log(settings.farthest / near) * (count - near)
    far = (near + ranges.clamp(min=0).long()).clamp(max=count - 1)
    return offset + torch.where(away < near, away, far)


def make_bias(settings: AlibiSettings | RelativeSettings) -> Alibi | RoundedAlibi | RelativeBias:
    """The bias that the settings describe."""
    if isinstance(settings, RelativeSettings):
        return RelativeBias(settings)
    return RoundedAlibi(settings) if settings.rounded else Alibi(settings)
