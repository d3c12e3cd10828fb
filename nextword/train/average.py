"""The running mean of the weights: an exponential moving average (EMA), which is smoother than any single step's.

    mean <- d mean + (1 - d) theta,    d = min(decay, (1 + t) / (10 + t)) at step t

Steps of a large learning rate circle around the minimum; their mean lies closer to it (Polyak & Juditsky 1992;
Tarvainen & Valpola 2017). The smaller d of the first steps lets the mean forget the first, random weights. It is kept
in fp32 beside the masters, used wherever the model is looked at (validation, the best and the finished model), and
saved with the state; training itself never sees it.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from nextword.train.precision import Weights


class Average:
    """The mean of the masters, by name."""

    def __init__(self, weights: Weights, decay: float) -> None:
        self.weights, self.decay = weights, decay
        self.tensors: dict[str, Tensor] = {name: master.detach().clone() for name, master in weights.masters.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Takes the weights after step `step` (from 0) in."""
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(list(self.tensors.values()), list(self.weights.masters.values()), 1 - decay)

    @contextmanager
    def standing_in(self) -> Iterator[None]:
        """While the block lasts the model's weights are the mean; afterwards they are what they were, bit for bit."""
        masters = list(self.weights.masters.values())
        kept = [master.detach().clone() for master in masters]
        self.put(masters, list(self.tensors.values()))
        try:
            yield
        finally:
            self.put(masters, kept)

    @torch.no_grad()
    def put(self, masters: list[Tensor], values: list[Tensor]) -> None:
        """Writes the values into the masters and the model."""
        torch._foreach_copy_(masters, values)
        self.weights.publish()
