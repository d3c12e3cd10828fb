"""Mask-predict: an encoder writes by filling many masks at once, and again those that it was least sure of.

    fill all N masks;   for t = 1 .. T − 1:   mask the N·(T − t)/T tokens with the lowest probability, fill them anew

Each filling sees all other tokens, those before and those behind. Probabilities of tokens that stay are those of when
they were filled. T calls write a text of any length (Ghazvininejad et al., "Mask-Predict", 2019). With temperature 0
each mask gets its likeliest token, as in the paper; above, tokens are drawn. Control tokens are never written. The
length is fixed beforehand (max_tokens), because nothing here predicts it.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from nextword.core.errors import SettingsError
from nextword.decode import chain
from nextword.decode.row import Row, Step, Top
from nextword.decode.scores import logprobs, top
from nextword.decode.strategies.sample import choose
from nextword.decode.strategy_settings import StrategySettings

KINDS = frozenset({"encoder"})
HONOURS = frozenset({"iterations"})
DRAWS, HIDDEN = True, False
ITERATIONS = 10  # the paper's
ORDERLESS = {"temperature", "top_k", "top_p", "min_p", "typical", "epsilon", "eta", "logit_bias"}


class Gap:
    """The masks behind a prompt: what stands there now, how sure the model was, and which are to be filled."""

    def __init__(self, row: Row, never: Sequence[int]) -> None:
        names = {chain.order()[stage] for stage in row.history.stages} - ORDERLESS
        if names:
            raise SettingsError(
                f"{', '.join(sorted(names))}: strategy mask-predict writes in no order, and this goes by the tokens "
                "before: leave it out"
            )
        self.row, self.never = row, list(never)
        length = row.asked.limit
        self.tokens, self.logprobs = [0] * length, [0.0] * length
        self.tops: list[Top] = [()] * length
        self.masked = list(range(length))
        self.rounds, self.left = row.strategy.iterations or ITERATIONS, row.strategy.iterations or ITERATIONS

    def fill(self, logits_MV: Tensor) -> None:
        """Tokens for the masks, by the scores of each; then masks those that are least sure."""
        logits_MV = logits_MV.float().index_fill(-1, torch.tensor(self.never, dtype=torch.int64), float("-inf"))
        raw_MV, count = logprobs(logits_MV), len(self.masked)
        scores_MV = chain.process(logits_MV, [self.row.history] * count)
        tokens = choose(scores_MV, [self.row.settings] * count, [self.row.generator] * count)
        wanted = self.row.settings.top_logprobs
        for place, token, logprobs_V in zip(self.masked, tokens, raw_MV, strict=True):
            self.tokens[place], self.logprobs[place] = token, float(logprobs_V[token])
            self.tops[place] = top(logprobs_V, wanted) if wanted else ()
        self.left -= 1
        again = len(self.tokens) * self.left // self.rounds
        unsure = sorted(range(len(self.tokens)), key=lambda place: self.logprobs[place])
        self.masked = sorted(unsure[:again])

    def ids(self, mask_id: int) -> list[int]:
        """The tokens, with the mask where one is to be filled."""
        masked = set(self.masked)
        return [mask_id if place in masked else token for place, token in enumerate(self.tokens)]

    def say(self) -> list[Step]:
        """The steps of the finished text."""
        return self.row.replay(self.tokens, self.logprobs, self.tops)


def width(settings: StrategySettings) -> int:
    """One row a request."""
    return 1
