"""The next token: what the model says may follow, in a form that can be reshaped without asking again.

    p(w) = exp(z_w / T) / Σ_v exp(z_v / T)

A page that lets one turn T, top-k and top-p needs the scores z of the likeliest tokens and, for the denominator, those
of all others. A small vocabulary is sent whole. Of a large one the others are sent by how many of them lie in each of
some narrow ranges, and where: log of the mean of exp(z) in it. The denominator is then exact at T = 1, and elsewhere
off by a factor of at most about 1 + w²/8 · |1/T² − 1/T|, w the width of a range.
"""

from typing import Any

from torch import Tensor

from nextword.decode.scores import logprobs
from nextword.engine.step import PlainSteps, check_ids
from nextword.serve.looking import LookedAt, check_length, read, shown
from nextword.serve.service import Served

TOKENS = 1024  # that are read
WHOLE = 1024  # a vocabulary of up to so many tokens is sent whole
LIKELIEST = 256  # of a larger one so many
RANGES = 256  # and the others in so many ranges


class Body(LookedAt):
    """The text that is continued, and ids that were chosen since."""

    taken: list[int] = []


def look(served: Served, body: Body) -> dict[str, Any]:
    """The likeliest tokens with log p (at T = 1), best first, and the others by range."""
    found = read(served, body, TOKENS)
    ids = [*found.ids, *body.taken]
    check_length(served, found._replace(ids=ids), TOKENS)
    check_ids([ids], served.model.vocab_size)
    sources = None if found.source is None else [found.source]
    logits_BV, _ = PlainSteps(served.model).prefill([ids], len(ids), sources)
    logp_V = logprobs(logits_BV)[0].double().cpu()
    size = served.tokenizer.vocab_size  # a model may have spare rows, whose ids no text has
    sorted_V, order_V = logp_V.sort(descending=True, stable=True)
    count = len(logp_V) if len(logp_V) <= WHOLE else LIKELIEST
    top = zip(order_V[:count].tolist(), sorted_V[:count].tolist(), strict=True)
    tokenizer = served.tokenizer
    return {
        "context": [shown(tokenizer, number) for number in ids],
        "tokens": [
            {"id": number, "shown": shown(tokenizer, number) if number < size else "", "logprob": logprob}
            for number, logprob in top
        ],
        "rest": ranges(sorted_V[count:]) if count < len(logp_V) else [],
        "vocab_size": len(logp_V),
        "ends": tokenizer.eos_id,
    }


def ranges(sorted_N: Tensor) -> list[dict[str, float]]:
    """How many of the scores lie in each range that has any, and the log of the mean of their exponentials."""
    finite_N = sorted_N[sorted_N.isfinite()]
    if not len(finite_N):
        return []
    low, high = float(finite_N[-1]), float(finite_N[0])
    step = (high - low) / RANGES or 1.0
    number_N = ((high - finite_N) / step).long().clamp(max=RANGES - 1)
    found = []
    for part in finite_N.split(number_N.bincount().tolist()):
        if len(part):
            found.append({"count": len(part), "logprob": float(part.logsumexp(0) - Tensor([len(part)]).double().log())})
    return found
