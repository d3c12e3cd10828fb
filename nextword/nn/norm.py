"""Norms: every position's vector is brought to one size, then each coordinate is scaled by a learnt weight.

    LayerNorm   y = w ⊙ (x − mean(x)) / √(var(x) + ε) + b
    RMSNorm     y = w ⊙ x / √(mean(x²) + ε)                    the ε stands inside the root
    about one   as RMSNorm, with 1 + w in place of w           Gemma (2024): decay then pulls the scale to 1, not to 0
    plain       LayerNorm without b                            ModernBERT (2024)
    bare        LayerNorm without w and b                      OLMo (2024): nothing to learn

LayerNorm: Ba, Kiros & Hinton (2016). RMSNorm leaves out the mean and the bias; as good in practice and cheaper (Zhang &
Sennrich, "Root Mean Square Layer Normalization", 2019). The mean is taken in fp32 whatever the weights' type, because
squares of bf16 numbers lose too much. RMSNorm's gradient is written out: PyTorch's own runs twice as long on a CPU,
which spends this step moving memory.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class NormSettings:
    """What a norm is made of: the width of its input, ε, and which it is, a key of NORMS."""

    width: int
    epsilon: float = 1e-5
    kind: str = "rms"


class _RMSNorm(torch.autograd.Function):
    """y = w ⊙ x̂ with x̂ = r·x and r = 1/√(mean(x²) + ε); so dx = r·(g − x̂·mean(g ⊙ x̂)) with g = dy ⊙ w."""

    @staticmethod
    def forward(ctx, x, weight, epsilon):  # noqa: D102
        scale = _scale(x, epsilon)
        ctx.save_for_backward(x, weight, scale)
        return _apply(x, weight, scale)

    @staticmethod
    def backward(ctx, dy):  # noqa: D102
        x, weight, scale = ctx.saved_tensors
        unit = x * scale
        g = (dy * weight).to(unit.dtype)
        dweight = (dy * unit).flatten(0, -2).sum(0)
        along = torch.linalg.vecdot(g, unit).unsqueeze(-1).div_(x.shape[-1])
        dx = g.addcmul_(unit, along, value=-1).mul_(scale)
        return dx.to(x.dtype), dweight.to(weight.dtype), None


def _scale(x: Tensor, epsilon: float) -> Tensor:
    """1/√(mean(x²) + ε) over the last dimension, kept, in fp32 (fp64 for fp64)."""
    wide = torch.promote_types(x.dtype, torch.float32)
    length = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=wide)
    return length.square_().div_(x.shape[-1]).add_(epsilon).rsqrt_()


def _apply(x: Tensor, weight: Tensor, scale: Tensor) -> Tensor:
    return (x * scale).to(x.dtype).mul_(weight)


class RMSNorm(nn.Module):
    """x_..D -> w ⊙ x / √(mean(x²) + ε), of the same shape and type."""

    def __init__(self, settings: NormSettings) -> None:
        super().__init__()
        self.epsilon = settings.epsilon
        self.weight = nn.Parameter(torch.ones(settings.width))

    def forward(self, x: Tensor) -> Tensor:
        """Normalises the last dimension."""
        if torch.is_grad_enabled():
            return _RMSNorm.apply(x, self.weight, self.epsilon)
        return _apply(x, self.weight, _scale(x, self.epsilon))

    def initialise(self) -> None:
        """Weights 1."""
        nn.init.ones_(self.weight)


class AboutOneRMSNorm(RMSNorm):
    """x_..D -> (1 + w) ⊙ x / √(mean(x²) + ε); all in fp32 (fp64 for fp64), and only the result in the type of x."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalises the last dimension."""
        wide = torch.promote_types(x.dtype, torch.float32)
        gain = 1 + self.weight.to(wide)
        if torch.is_grad_enabled():
            return _RMSNorm.apply(x.to(wide), gain, self.epsilon).to(x.dtype)
        return _apply(x.to(wide), gain, _scale(x, self.epsilon)).to(x.dtype)

    def initialise(self) -> None:
        """Weights 0."""
        nn.init.zeros_(self.weight)


class BareLayerNorm(nn.Module):
    """x_..D -> (x − mean) / √(var + ε), of the same shape and type."""

    def __init__(self, settings: NormSettings) -> None:
        super().__init__()
        self.width, self.epsilon = settings.width, settings.epsilon

    def forward(self, x: Tensor) -> Tensor:
        """Normalises the last dimension."""
        return F.layer_norm(x, (self.width,), eps=self.epsilon)

    def initialise(self) -> None:
        """Nothing to draw."""


class PlainLayerNorm(nn.Module):
    """x_..D -> w ⊙ (x − mean) / √(var + ε), of the same shape and type."""

    def __init__(self, settings: NormSettings) -> None:
        super().__init__()
        self.epsilon = settings.epsilon
        self.weight = nn.Parameter(torch.ones(settings.width))

    def forward(self, x: Tensor) -> Tensor:
        """Normalises the last dimension."""
        return F.layer_norm(x, self.weight.shape, self.weight, None, self.epsilon)

    def initialise(self) -> None:
        """Weights 1."""
        nn.init.ones_(self.weight)


class LayerNorm(nn.Module):
    """x_..D -> w ⊙ (x − mean) / √(var + ε) + b, of the same shape and type."""

    def __init__(self, settings: NormSettings) -> None:
        super().__init__()
        self.epsilon = settings.epsilon
        self.weight = nn.Parameter(torch.ones(settings.width))
        self.bias = nn.Parameter(torch.zeros(settings.width))

    def forward(self, x: Tensor) -> Tensor:
        """Normalises the last dimension."""
        return F.layer_norm(x, self.weight.shape, self.weight, self.bias, self.epsilon)

    def initialise(self) -> None:
        """Weights 1, biases 0."""
        nn.init.ones_(self.weight)
        nn.init.zeros_(self.bias)


Norm = RMSNorm | LayerNorm | PlainLayerNorm | BareLayerNorm
NORMS: dict[str, type[RMSNorm] | type[LayerNorm] | type[PlainLayerNorm] | type[BareLayerNorm]] = {
    "rms": RMSNorm,
    "rms about one": AboutOneRMSNorm,
    "layer": LayerNorm,
    "plain layer": PlainLayerNorm,
    "bare layer": BareLayerNorm,
}


def make_norm(settings: NormSettings) -> Norm:
    """The norm that the settings describe."""
    return NORMS[settings.kind](settings)
