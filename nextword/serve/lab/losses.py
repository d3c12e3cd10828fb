"""Losses: how surprised the model is by each token of a text.

loss_t = −log p(w_t | w_1 … w_{t−1})          perplexity = exp(mean of the losses)
"""

import math
from typing import Any

from nextword.core.errors import SettingsError
from nextword.evals.scored import scored
from nextword.serve.bodies import Strict
from nextword.serve.looking import check_count, check_size, shown
from nextword.serve.service import Served
from nextword.tokenizers.places import places

TOKENS = 2048  # of a text; one beyond the model's context is read in windows that overlap by half


class Body(Strict):
    """The text whose losses are asked for."""

    text: str


def look(served: Served, body: Body) -> dict[str, Any]:
    """Every token with its place in the text and its log-probability (null where nothing stands before it)."""
    check_size(body.text, "text", TOKENS)
    found = places(served.tokenizer, body.text)
    check_count(len(found), TOKENS)
    tokens = scored(served.model, served.tokenizer, [one.id for one in found])
    known = [token.logprob for token in tokens if token.logprob is not None]
    if not known:
        raise SettingsError("there is nothing to score: the text has no token with something before it")
    nats = -sum(known)
    return {
        "tokens": [
            {"shown": shown(served.tokenizer, one.id), **one._asdict(), "logprob": token.logprob}
            for one, token in zip(found, tokens, strict=True)
        ],
        "nats": nats,
        "loss": nats / len(known),
        "perplexity": math.exp(nats / len(known)),
        "bits_per_byte": nats / math.log(2) / len(body.text.encode()),
    }
