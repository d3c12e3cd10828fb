"""From scores to log-probabilities, and the likeliest of them."""

from collections.abc import Sequence

import torch
from torch import Tensor

from nextword.core.errors import CheckpointError
from nextword.decode.row import Row, Step, Top


class NotFinite(CheckpointError):
    """A model's scores are NaN or infinite; who knows the model can say which weight is the cause."""


def logprobs(logits_NV: Tensor) -> Tensor:
    """log softmax in fp32; NotFinite when a row is not a distribution (NaN weights)."""
    totals_N1 = logits_NV.float().logsumexp(-1, keepdim=True)
    if not bool(totals_N1.isfinite().all()):
        raise NotFinite(
            "the model's scores are not finite (NaN or infinite weights, or training that diverged): "
            "use an earlier checkpoint"
        )
    return logits_NV.float() - totals_N1


def top(logprobs_V: Tensor, count: int) -> Top:
    """The `count` likeliest tokens with their log-probabilities, best first."""
    best = logprobs_V.topk(min(count, len(logprobs_V)))
    return tuple(zip(best.indices.tolist(), best.values.tolist(), strict=True))


def take(rows: Sequence[Row], tokens: Sequence[int], logprobs_BV: Tensor) -> list[Step]:
    """Each row takes its token, with its log-probability and the alternatives that the row asks for."""
    chosen = logprobs_BV[torch.arange(len(rows)), torch.tensor(tokens)].tolist()
    return [
        row.take(
            token, logprob, top(logprobs_BV[place], row.settings.top_logprobs) if row.settings.top_logprobs else ()
        )
        for place, (row, token, logprob) in enumerate(zip(rows, tokens, chosen, strict=True))
    ]
