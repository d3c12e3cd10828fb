"""The running mean of the weights, which is smoother than any single step's.

    mean <- mean + s (theta - mean)    after step t, with the share s of the newest weights:

    ema     s = 1 - min(ema, (1 + t) / (10 + t))    an exponential moving average, of about the last 1 / (1 - ema) steps
    tail    s = 1 / max(t - first + 1, 1)           the plain mean over all steps from `first` on

Steps of a large learning rate circle around the minimum; their mean lies closer to it (Polyak & Juditsky 1992;
Tarvainen & Valpola 2017; Izmailov et al. 2018, "Averaging Weights Leads to Wider Optima"; of late steps only: Kaddour
2022, "Stop Wasting My Time!"). The smaller ema of the first steps lets the mean forget the first, random weights; a
tail that has not begun is the newest weights alone (s = 1). The mean is kept in fp32 beside the masters, used wherever
the model is looked at (validation, the best and the finished model), and saved with the state; training never sees it.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from nextword.train.precision import Weights
from nextword.train.settings import TrainSettings

Share = Callable[[int], float]  # step (from 0) -> the newest weights' part in the mean


def share_of(settings: TrainSettings) -> Share | None:
    """How the settings want the mean to be made; None where they want none.

    >>> [share_of(TrainSettings(steps=10, tail=0.3))(step) for step in (0, 6, 7, 8, 9)]
    [1.0, 1.0, 1.0, 0.5, 0.3333333333333333]
    """
    if settings.tail:
        first = settings.steps - max(round(settings.tail * settings.steps), 1)
        return lambda step: 1 / max(step - first + 1, 1)
    if settings.ema:
        return lambda step: 1 - min(settings.ema, (1 + step) / (10 + step))
    return None


class Average:
    """The mean of the masters, by name."""

    def __init__(self, weights: Weights, share: Share) -> None:
        self.weights, self.share = weights, share
        self.tensors: dict[str, Tensor] = {name: master.detach().clone() for name, master in weights.masters.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Takes the weights after step `step` (from 0) in."""
        torch._foreach_lerp_(list(self.tensors.values()), list(self.weights.masters.values()), self.share(step))

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
