"""From scores to log-probabilities, and the likeliest of them."""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from nextword.core.errors import CheckpointError
from nextword.decode.row import Row, Step, Top

BLOCK = 256  # weights that are added up at once
Draw = Callable[[Tensor, Tensor], list[int]]  # of scores (N, V) and a number in [0, 1) for each row


class NotFinite(CheckpointError):
    """A model's scores are NaN or infinite; who knows the model can say which weight is the cause."""


def logprobs(logits_NV: Tensor) -> Tensor:
    """log softmax in fp32; NotFinite when a row is not a distribution (NaN weights)."""
    logp_NV = logits_NV.float().log_softmax(-1)
    if not bool(logp_NV.amax(-1).isfinite().all()):
        raise NotFinite(
            "the model's scores are not finite (NaN or infinite weights, or training that diverged): "
            "use an earlier checkpoint"
        )
    return logp_NV


def likeliest(scores_NV: Tensor) -> list[int]:
    """The token with the highest score of each row; on the CPU by NumPy, which is ten times as fast."""
    if scores_NV.device.type == "cpu":
        return scores_NV.numpy().argmax(-1).tolist()  # type: ignore[no-any-return]
    return scores_NV.argmax(-1).tolist()


def draw(scores_NV: Tensor, u_N: Tensor) -> list[int]:
    """A token for each row from softmax(scores) by its number u in [0, 1)."""
    return drawn(scores_NV.softmax(-1), u_N.to(scores_NV.device))


def drawn(weights_NV: Tensor, u_N: Tensor) -> list[int]:
    """Of each row the first token at which the sum of the weights exceeds u times the whole (inversion), u in [0, 1).

    Sums in float64: of blocks first, then within the one block in which it happens, so that most weights are only added
    up. A token of weight 0 is never drawn.
    """
    size = weights_NV.shape[-1]
    blocks_NBK = F.pad(weights_NV, (0, -size % BLOCK)).unflatten(-1, (-1, BLOCK))
    sums_NB = blocks_NBK.sum(-1, dtype=torch.float64).cumsum(-1)
    place_N1, rest_N1 = _first_above(sums_NB, u_N[:, None] * sums_NB[:, -1:])
    chosen_NK = blocks_NBK[torch.arange(len(u_N), device=u_N.device), place_N1[:, 0]]
    within_N1, _ = _first_above(chosen_NK.cumsum(-1, dtype=torch.float64), rest_N1)
    return (place_N1 * BLOCK + within_N1)[:, 0].tolist()  # type: ignore[no-any-return]


def _first_above(sums_NB: Tensor, wanted_N1: Tensor) -> tuple[Tensor, Tensor]:
    """Where running sums first exceed what is wanted, and how much of it is behind the place before."""
    wanted_N1 = torch.minimum(wanted_N1, sums_NB[:, -1:].nextafter(torch.zeros_like(wanted_N1)))  # rounding: the last
    place_N1 = torch.searchsorted(sums_NB, wanted_N1, right=True)
    before_N1 = F.pad(sums_NB, (1, 0)).gather(-1, place_N1)
    return place_N1, wanted_N1 - before_N1


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
