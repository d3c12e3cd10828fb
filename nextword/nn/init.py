"""How fresh weights are drawn: from one generator, in the order of the layers, so that a seed gives one model.

Matrices and embeddings ~ N(0, 0.02²); those that write into the residual stream N(0, (0.02/√(2·depth))²), so that the
stream's variance does not grow with the number of layers (GPT-2, Radford et al., 2019); biases 0; norms 1.
"""

import math

import torch
from torch import Tensor, nn

STANDARD_DEVIATION = 0.02  # GPT-2's, and transformers' `initializer_range`


def empty_embedding(count: int, width: int) -> nn.Embedding:
    """A table of `count` rows that nothing is drawn for yet.

    PyTorch's own drawing, on the meta device, would import its compiler: two seconds at every start.
    """
    return nn.Embedding(count, width, _weight=torch.empty(count, width))


class EmptyLinear(nn.Linear):
    """A linear layer that nothing is drawn for yet: PyTorch's own drawing is most of what making one costs."""

    def reset_parameters(self) -> None:
        """Leaves the numbers as they are."""


@torch.no_grad()
def normal(weight: Tensor, std: float, generator: torch.Generator) -> None:
    """Fills `weight` (on the CPU) from N(0, std²)."""
    weight.normal_(0.0, std, generator=generator)


@torch.no_grad()
def uniform(weight: Tensor, bound: float, generator: torch.Generator) -> None:
    """Fills `weight` (on the CPU) evenly from [-bound, bound]."""
    weight.uniform_(-bound, bound, generator=generator)


@torch.no_grad()
def zeros(bias: Tensor | None) -> None:
    """Sets a bias to zero where there is one."""
    if bias is not None:
        bias.zero_()


def residual_std(std: float, depth: int) -> float:
    """The deviation of matrices that write into the residual stream of a stack of `depth` blocks (two writers each)."""
    return std / math.sqrt(2 * depth)
