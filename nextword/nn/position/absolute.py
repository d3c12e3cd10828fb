"""Absolute positions: a vector for each place, added to the token's own, so that the same token differs from place to
place.

    learned      a table, one row a place                                  (BERT, GPT-2)
    sinusoidal   p_t[2k] = sin(t · base^(−2k/D)),  p_t[2k+1] = cos(…)      k = 0 … D/2 − 1, base 10,000
    halves       the same numbers, all sines first and then all cosines    (Marian)

Sinusoidal: Vaswani et al., "Attention Is All You Need" (2017); they go on for ever, a learned table ends.
"""

import torch
from torch import Tensor, nn

from nextword.core.errors import SettingsError
from nextword.nn.init import normal

BASE = 10_000.0


class LearnedPositions(nn.Module):
    """A vector for each of `count` places."""

    def __init__(self, count: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(count, width))

    def forward(self, positions_BT: Tensor, longest: int, types_BT: Tensor | None = None) -> Tensor:
        """p_BTD; `longest` is one more than the largest position. SettingsError beyond the table's end."""
        if longest > len(self.weight):
            raise SettingsError(f"a text has {longest} tokens, the model has positions for {len(self.weight)}: cut it")
        return nn.functional.embedding(positions_BT, self.weight)

    def initialise(self, std: float, generator: torch.Generator) -> None:
        """N(0, std²)."""
        normal(self.weight, std, generator)


class ShiftedPositions(LearnedPositions):
    """Learned positions behind `skipped` rows that no token uses: RoBERTa's begin behind the id of its padding."""

    def __init__(self, count: int, width: int, skipped: int) -> None:
        super().__init__(count, width)
        self.skipped = skipped

    def forward(self, positions_BT: Tensor, longest: int, types_BT: Tensor | None = None) -> Tensor:
        """p_BTD; as LearnedPositions, of which there are so many less."""
        room = len(self.weight) - self.skipped
        if longest > room:
            raise SettingsError(f"a text has {longest} tokens, the model has positions for {room}: cut it")
        return nn.functional.embedding(positions_BT + self.skipped, self.weight)


class SinusoidalPositions(nn.Module):
    """The waves of `width` D; nothing is learned. halves: all sines stand before the cosines."""

    def __init__(self, width: int, halves: bool = False) -> None:
        super().__init__()
        self.width, self.halves = width, halves
        self.table_SD = torch.empty(0, width, device="cpu")

    def forward(self, positions_BT: Tensor, longest: int, types_BT: Tensor | None = None) -> Tensor:
        """p_BTD in fp32; `longest` is one more than the largest position."""
        if len(self.table_SD) < longest or self.table_SD.device != positions_BT.device:
            with torch.inference_mode(False):  # the table outlives the call that asks for it
                self.table_SD = sinusoids(longest, self.width, self.halves).to(positions_BT.device)
        return self.table_SD[positions_BT]

    def initialise(self, std: float, generator: torch.Generator) -> None:
        """Nothing to draw."""


def sinusoids(length: int, width: int, halves: bool = False) -> Tensor:
    """The vectors of positions 0 … length − 1, fp32, (length, width).

    Even coordinates are sines and odd ones cosines; or with `halves` all sines stand first.
    """
    waves = BASE ** (-torch.arange(0, width, 2, dtype=torch.float64, device="cpu") / width)
    angles = torch.arange(length, dtype=torch.float64, device="cpu")[:, None] * waves
    if halves:
        return torch.cat((angles.sin(), angles.cos()), -1)[:, :width].float()
    return torch.stack((angles.sin(), angles.cos()), -1).flatten(1)[:, :width].float()
