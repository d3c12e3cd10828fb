"""The feed-forward: each position on its own, wide in the middle.

    plain   y = W_down f(W_up x)                    Vaswani et al. (2017), with f = ReLU
    gated   y = W_down (f(W_gate x) ⊙ W_up x)       one half opens or closes the other

Gated with f = SiLU this is SwiGLU, with f = σ the original GLU (Shazeer, "GLU Variants Improve Transformer", 2020).
Three matrices in place of two: with ffn_width = 8/3 · width it has as many parameters as the plain feed-forward of four
times the width.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nextword.nn.dropout import dropout
from nextword.nn.init import normal, zeros

aten = torch.ops.aten


@dataclass(frozen=True)
class Activation:
    """A function of one number and what it does to a gradient: slope(dy, x) = dy · f'(x)."""

    function: Callable[[Tensor], Tensor]
    slope: Callable[[Tensor, Tensor], Tensor]


def _gelu_tanh(x: Tensor) -> Tensor:
    return F.gelu(x, approximate="tanh")


def _quick_gelu(x: Tensor) -> Tensor:
    return x * torch.sigmoid(QUICK * x)


def _quick_slope(dy: Tensor, x: Tensor) -> Tensor:
    s = torch.sigmoid(QUICK * x)
    return dy * (s + QUICK * x * s * (1 - s))


def _relu_squared(x: Tensor) -> Tensor:
    return F.relu(x).square()  # not in place: relu's gradient needs its result


QUICK = 1.702  # with which x·σ(1.702 x) is near GELU (Hendrycks & Gimpel, 2016)
_GELU = Activation(F.gelu, aten.gelu_backward)
_TANH_GELU = Activation(_gelu_tanh, lambda dy, x: aten.gelu_backward(dy, x, approximate="tanh"))
_SILU = Activation(F.silu, aten.silu_backward)

# by the names that Hugging Face configs use
ACTIVATIONS: dict[str, Activation] = {
    "silu": _SILU,
    "swish": _SILU,
    "gelu": _GELU,
    "gelu_python": _GELU,
    "gelu_new": _TANH_GELU,
    "gelu_fast": _TANH_GELU,
    "gelu_pytorch_tanh": _TANH_GELU,
    "quick_gelu": Activation(_quick_gelu, _quick_slope),
    "relu": Activation(F.relu, lambda dy, x: aten.threshold_backward(dy, x, 0)),
    "relu2": Activation(_relu_squared, lambda dy, x: 2 * dy * F.relu(x)),
    "sigmoid": Activation(torch.sigmoid, lambda dy, x: aten.sigmoid_backward(dy, torch.sigmoid(x))),
    "tanh": Activation(torch.tanh, lambda dy, x: aten.tanh_backward(dy, torch.tanh(x))),
}


@dataclass(frozen=True)
class FeedForwardSettings:
    """What a feed-forward is made of; `activation` is a key of ACTIVATIONS, `dropout` falls on its middle."""

    width: int
    ffn_width: int
    activation: str = "silu"
    bias: bool = False
    gated: bool = True
    dropout: float = 0.0


class _Gate(torch.autograd.Function):
    """f(gate) ⊙ up; f(gate) is computed again for the gradient, which costs less than keeping it in memory."""

    @staticmethod
    def forward(ctx, gate, up, activation):  # noqa: D102
        ctx.save_for_backward(gate, up)
        ctx.activation = activation
        return _gated(gate, up, activation)

    @staticmethod
    def backward(ctx, dy):  # noqa: D102
        gate, up = ctx.saved_tensors
        return ctx.activation.slope(dy * up, gate), ctx.activation.function(gate).mul_(dy), None


def _gated(gate: Tensor, up: Tensor, activation: Activation) -> Tensor:
    return activation.function(gate).mul_(up)


class GatedFeedForward(nn.Module):
    """x_BTD -> W_down (f(W_gate x) ⊙ W_up x), of the same shape."""

    LINEAR: ClassVar[type[nn.Linear]] = nn.Linear

    def __init__(self, settings: FeedForwardSettings) -> None:
        super().__init__()
        self.activation = ACTIVATIONS[settings.activation]
        self.gate = self.LINEAR(settings.width, settings.ffn_width, bias=settings.bias)
        self.up = self.LINEAR(settings.width, settings.ffn_width, bias=settings.bias)
        self.down = self.LINEAR(settings.ffn_width, settings.width, bias=settings.bias)
        self.drop = dropout(settings.dropout)

    def forward(self, x_BTD: Tensor) -> Tensor:
        """Each position on its own."""
        gate_BTF, up_BTF = self.gate(x_BTD), self.up(x_BTD)
        if torch.is_grad_enabled():
            return self.down(self.drop(_Gate.apply(gate_BTF, up_BTF, self.activation)))
        return self.down(_gated(gate_BTF, up_BTF, self.activation))

    def initialise(self, std: float, output_std: float, generator: torch.Generator) -> None:
        """Normal weights, zero biases; `output_std` is for the matrix that writes into the residual stream."""
        for linear, spread in ((self.gate, std), (self.up, std), (self.down, output_std)):
            normal(linear.weight, spread, generator)
            zeros(linear.bias)


class PlainFeedForward(nn.Module):
    """x_BTD -> W_down f(W_up x), of the same shape."""

    def __init__(self, settings: FeedForwardSettings) -> None:
        super().__init__()
        self.activation = ACTIVATIONS[settings.activation].function
        self.up = nn.Linear(settings.width, settings.ffn_width, bias=settings.bias)
        self.down = nn.Linear(settings.ffn_width, settings.width, bias=settings.bias)
        self.drop = dropout(settings.dropout)

    def forward(self, x_BTD: Tensor) -> Tensor:
        """Each position on its own."""
        return self.down(self.drop(self.activation(self.up(x_BTD))))

    def initialise(self, std: float, output_std: float, generator: torch.Generator) -> None:
        """Normal weights, zero biases; `output_std` is for the matrix that writes into the residual stream."""
        for linear, spread in ((self.up, std), (self.down, output_std)):
            normal(linear.weight, spread, generator)
            zeros(linear.bias)


def make_feedforward(settings: FeedForwardSettings) -> GatedFeedForward | PlainFeedForward:
    """The feed-forward that the settings describe."""
    return GatedFeedForward(settings) if settings.gated else PlainFeedForward(settings)
