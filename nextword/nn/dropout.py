"""Dropout: while training, a share of the numbers is set to 0 and the rest made larger by as much, anew at every step.

So no unit can rely on another being there (Srivastava et al., "Dropout", 2014). A share of 0 is no layer at all, so
that a model without dropout pays nothing.
"""

from collections.abc import Callable

from torch import Tensor, nn


def unchanged(x: Tensor) -> Tensor:
    """x itself: what stands in a forward where a feature is off."""
    return x


def dropout(share: float) -> Callable[[Tensor], Tensor]:
    """A layer that drops `share` of its input while training; `unchanged` for 0."""
    return nn.Dropout(share) if share else unchanged
