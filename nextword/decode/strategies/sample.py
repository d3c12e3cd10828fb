"""Sampling, and greedy as its limit: one token a row from softmax(logits), or the likeliest where the temperature is 0.

A row draws one number u, uniform in [0, 1), from a generator of its own and takes the first token at which the sum of
the probabilities exceeds u (inversion). So what a row gets depends on its own seed and logits only, whoever shares the
batch.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from nextword.decode import chain
from nextword.decode.row import Row
from nextword.decode.scores import Draw, draw, likeliest, logprobs, take
from nextword.decode.settings import SamplingSettings
from nextword.decode.strategy import Choice, Reading, Search, Tools, Turn
from nextword.decode.strategy_settings import StrategySettings

KINDS = frozenset({"decoder", "encoder-decoder"})
HONOURS: frozenset[str] = frozenset()
DRAWS, HIDDEN = True, False


class Sampling:
    """Every row takes a token and reads it, until it ends."""

    def __init__(self, rows: Sequence[Row], by: Draw) -> None:
        self.rows, self.by = list(rows), by

    def next(self, reading: Reading) -> Turn:
        """One token a row; log-probabilities are the model's own, before any processor."""
        logprobs_BV = logprobs(reading.logits_NV)
        settings = [row.settings for row in self.rows]
        scores_BV = chain.process(reading.logits_NV.float(), [row.history for row in self.rows])
        tokens = choose(scores_BV, settings, [row.generator for row in self.rows], self.by)
        steps = take(self.rows, tokens, logprobs_BV)
        going = [place for place, step in enumerate(steps) if step.stop is None]
        self.rows = [self.rows[place] for place in going]
        return Turn(steps, [Choice(place, (tokens[place],)) for place in going])


def start(rows: Sequence[Row], tools: Tools) -> Search:
    """Begins to sample."""
    return Sampling(rows, tools.draw)


def choose(
    logits_BV: Tensor, rows: Sequence[SamplingSettings], generators: Sequence[torch.Generator], by: Draw = draw
) -> list[int]:
    """The next token of each row; `generators` live on the CPU, one a row."""
    drawing = [row for row, settings in enumerate(rows) if settings.temperature > 0]
    if not drawing:
        return likeliest(logits_BV)
    scores_NV = logits_BV if len(drawing) == len(rows) else logits_BV[drawing]
    numbers = [torch.rand((), generator=generators[row], dtype=torch.float64) for row in drawing]
    chosen = likeliest(logits_BV) if len(drawing) < len(rows) else [0] * len(rows)
    for row, token in zip(drawing, by(scores_NV, torch.stack(numbers)), strict=True):
        chosen[row] = token
    return chosen


def width(settings: StrategySettings) -> int:
    """One row a request."""
    return 1
