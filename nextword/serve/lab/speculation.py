"""Speculative decoding: what was guessed, what the model accepted of it, and what it said itself.

    accept x with probability min(1, p(x) / q(x)),  else draw from max(0, p − q) / Σ max(0, p − q)

Guesses come from the text itself: its last tokens are looked for in what was read before, and what followed them there
is the guess (prompt lookup).
"""

from collections.abc import Iterable, Sequence
from typing import Any

from nextword.core.settings import in_range
from nextword.decode.strategy import Tools
from nextword.decode.strategy_settings import StrategySettings
from nextword.decode.trace import Guessed
from nextword.engine.generate import generate
from nextword.engine.step import PlainSteps
from nextword.serve.looking import LookedAt, continuation, read, shown
from nextword.serve.service import Served

TOKENS = 1024  # that are read
NEW_TOKENS = 256


class Body(LookedAt):
    """The text that is continued; how many tokens, how many are guessed at once, and how they are drawn."""

    tokens: int = 32
    guesses: int = 5
    temperature: float = 0.0
    seed: int = 0


def look(served: Served, body: Body) -> dict[str, Any]:
    """`rounds`: the steps of the model, each with its guesses and the token that came after those accepted."""
    in_range("tokens", body.tokens, 1, NEW_TOKENS)
    strategy = StrategySettings(strategy="lookup", guesses=body.guesses)
    draws = {"temperature": body.temperature, "seed": body.seed} if body.temperature else {}
    request = continuation(served, read(served, body, TOKENS), body.tokens, strategy, **draws)
    trace: list[Guessed] = []
    [found] = generate(served.model, [request], PlainSteps(served.model), Tools(trace=trace))
    new = [*found.ids, *request.eos_ids] if found.reason == "eos" else found.ids
    return {"source": "prompt lookup", "text": found.text, "rounds": rounds(served, new, trace)}


def rounds(served: Served, new: Sequence[int], trace: Iterable[Guessed]) -> list[dict[str, Any]]:
    """The steps of the model, each with its guesses (none, where nothing was found) and what it said after them."""

    def token(number: int) -> dict[str, Any]:
        return {"id": number, "shown": shown(served.tokenizer, number)}

    guessed = {one.place: one for one in trace}
    found, place = [], 0
    while place < len(new):
        one = guessed.get(place, Guessed(0, place, (), 0, new[place]))
        left = len(new) - place  # a text may end among its guesses
        draft = one.tokens if one.accepted < left else one.tokens[:left]
        accepted = min(one.accepted, left)
        found.append(
            {
                "draft": [{**token(number), "accepted": at < accepted} for at, number in enumerate(draft)],
                "own": token(new[place + accepted]) if accepted < left else None,
            }
        )
        place += accepted + 1
    return found
