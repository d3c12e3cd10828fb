"""Sampling, and greedy as its limit: one token a row from softmax(logits), or the likeliest where the temperature is 0.

A row draws one number u, uniform in [0, 1), from a generator of its own and takes the first token at which the sum of
the probabilities exceeds u (inversion). So what a row gets depends on its own seed and logits only, whoever shares the
batch.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from nextword.decode.settings import SamplingSettings


def choose(logits_BV: Tensor, rows: Sequence[SamplingSettings], generators: Sequence[torch.Generator]) -> list[int]:
    """The next token of each row; `generators` live on the CPU, one a row."""
    chosen = logits_BV.argmax(-1).tolist()
    drawn = [row for row, settings in enumerate(rows) if settings.temperature > 0]
    if drawn:
        scores_NV = logits_BV if len(drawn) == len(rows) else logits_BV[drawn]
        sums_NV = scores_NV.double().softmax(-1).cumsum(-1)
        numbers = [torch.rand((), generator=generators[row], dtype=torch.float64) for row in drawn]
        u_N1 = torch.stack(numbers)[:, None].to(sums_NV.device)
        # times the last sum, which rounding keeps from being exactly 1: no token beyond the last can be drawn
        picks_N1 = torch.searchsorted(sums_NV, u_N1 * sums_NV[:, -1:], right=True)
        for row, pick in zip(drawn, picks_N1.flatten().tolist(), strict=True):
            chosen[row] = min(pick, logits_BV.shape[-1] - 1)
    return chosen
