"""Contrastive search: a likely token whose vector is unlike all that was said before.

    x_t = argmax over the k likeliest v of   (1 − α) · p(v | x_<t)  −  α · max_j cos(h_v, h_xj)

h_v is the hidden vector that the model would have after reading v: every candidate is read to find it, k rows a step.
Greedy texts run in circles because the vectors of a repeated phrase are alike; the second term, the degeneration
penalty, breaks the circle without drawing anything (Su et al., "A Contrastive Framework for Neural Text Generation",
2022). α 0 is greedy. It needs a model with hidden vectors: counts have none.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from nextword.core.errors import SettingsError
from nextword.decode import chain
from nextword.decode.row import Row
from nextword.decode.scores import logprobs, take
from nextword.decode.strategy import Choice, Reading, Search, Tools, Turn
from nextword.decode.strategy_settings import StrategySettings

KINDS = frozenset({"decoder", "encoder-decoder"})
HONOURS = frozenset({"alpha", "candidates"})
DRAWS, HIDDEN = False, True
ALPHA, CANDIDATES = 0.6, 4  # the paper's


def width(settings: StrategySettings) -> int:
    """The rows that a request needs."""
    return settings.candidates or CANDIDATES


class Text:
    """A text with the directions of its tokens' vectors, and the candidates that are being looked at."""

    candidates: list[int]
    probabilities_K: Tensor
    logprobs_V: Tensor  # the model's own, of the place that the candidates are for

    def __init__(self, row: Row, directions_TD: Tensor) -> None:
        self.row, self.directions_TD = row, directions_TD

    def best(self, directions_KD: Tensor) -> int:
        """The candidate with the highest score, given the direction of each."""
        alpha = ALPHA if self.row.strategy.alpha is None else self.row.strategy.alpha
        alike_K = (directions_KD @ self.directions_TD.T).amax(-1)
        return int(((1 - alpha) * self.probabilities_K - alpha * alike_K).argmax())


class Contrastive:
    """Reads the candidates of every row, and takes one of each."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self.rows = list(rows)
        self.texts: list[Text] = []

    def next(self, reading: Reading) -> Turn:
        """Takes one candidate a row, and looks at those behind it."""
        directions = [directions_of(hidden_TD) for hidden_TD in reading.hidden]
        if not self.texts:
            self.texts = [Text(row, new_TD) for row, new_TD in zip(self.rows, directions, strict=True)]
            return Turn([], look(self.texts, reading.logits_NV, list(range(len(self.rows)))))
        steps, going, rows, at = [], [], [], 0
        for text in self.texts:
            found = directions[at : at + len(text.candidates)]
            pick = text.best(torch.cat(found))
            [step] = take([text.row], [text.candidates[pick]], text.logprobs_V[None])
            steps.append(step)
            if step.stop is None:
                text.directions_TD = torch.cat((text.directions_TD, found[pick]))
                going.append(text)
                rows.append(at + pick)
            at += len(text.candidates)
        self.texts = going
        return Turn(steps, look(going, reading.logits_NV[rows], rows) if going else [])


def look(texts: Sequence[Text], logits_RV: Tensor, rows: Sequence[int]) -> list[Choice]:
    """The likeliest tokens of each text are to be read, each behind present row `rows`, whose logits are given."""
    raw_RV = logprobs(logits_RV)
    scores_RV = chain.process(logits_RV.float(), [text.row.history for text in texts])
    choices: list[Choice] = []
    for text, raw_V, scores_V, row in zip(texts, raw_RV, scores_RV, rows, strict=True):
        best = scores_V.softmax(-1).topk(min(width(text.row.strategy), len(scores_V)))
        kept = int((best.values > 0).sum())  # without forbidden tokens
        text.candidates, text.probabilities_K, text.logprobs_V = best.indices[:kept].tolist(), best.values[:kept], raw_V
        choices += [Choice(row, (token,)) for token in text.candidates]
    return choices


def directions_of(hidden_TD: Tensor) -> Tensor:
    """Vectors of length 1; SettingsError for a model that has none."""
    if not hidden_TD.is_floating_point():
        raise SettingsError(
            "strategy contrastive compares hidden vectors, and this kind of model has none: it counts; choose sample "
            "or beam"
        )
    return F.normalize(hidden_TD.float(), dim=-1)


def start(rows: Sequence[Row], tools: Tools) -> Search:
    """Begins a search for each row."""
    return Contrastive(rows)
