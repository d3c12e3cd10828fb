"""Beam search: the tree of all candidates, kept or pruned.

score(y) = (1 / |y|^α) Σ_t log p(y_t | x, y_<t)
"""

from collections.abc import Iterable
from typing import Any

from nextword.core.settings import in_range
from nextword.decode.strategy import Tools
from nextword.decode.strategy_settings import StrategySettings
from nextword.decode.trace import Level
from nextword.engine.generate import generate
from nextword.engine.step import PlainSteps
from nextword.serve.looking import LookedAt, continuation, read, shown
from nextword.serve.service import Served

TOKENS = 1024  # that are read
BEAMS = 8
NEW_TOKENS = 32


class Body(LookedAt):
    """The text that is continued; how many beams, how many tokens, and α."""

    beams: int = 3
    tokens: int = 5
    length_penalty: float = 1.0


def look(served: Served, body: Body) -> dict[str, Any]:
    """`nodes`, a parent before its children (-1: the text itself); `best`: the texts, the best first, with their node.

    `sum` is the text's log p so far. A text that has a node ended there, or was followed up to the most tokens.
    """
    in_range("beams", body.beams, 1, BEAMS)
    in_range("tokens", body.tokens, 1, NEW_TOKENS)
    strategy = StrategySettings(strategy="beam", beams=body.beams, n=body.beams, length_penalty=body.length_penalty)
    request = continuation(served, read(served, body, TOKENS), body.tokens, strategy)
    trace: list[Any] = []
    [found] = generate(served.model, [request], PlainSteps(served.model), Tools(trace=trace))
    nodes = tree(trace)
    places = {node.pop("path"): place for place, node in enumerate(nodes)}
    end = () if served.tokenizer.eos_id is None else (served.tokenizer.eos_id,)
    return {
        "nodes": [{**node, "shown": shown(served.tokenizer, node["id"])} for node in nodes],
        "best": [
            {
                "text": text.text,
                "score": text.score,
                "node": places[(*text.ids, *end) if text.reason == "eos" else text.ids],
            }
            for text in found.best
        ],
    }


def tree(trace: Iterable[Level]) -> list[dict[str, Any]]:
    """The candidates of all levels as nodes that know their parents and their path from the text."""
    nodes: list[dict[str, Any]] = []
    beams = [-1]  # the nodes of the texts that go on
    for level in trace:
        going = []
        for one in level.candidates:
            parent = beams[one.parent]
            above = nodes[parent] if parent >= 0 else {"path": (), "sum": 0.0}
            if one.fate == "kept":
                going.append(len(nodes))
            nodes.append(
                {
                    "parent": parent,
                    "id": one.token,
                    "logprob": one.logprob,
                    "sum": above["sum"] + one.logprob,
                    "fate": one.fate,
                    "path": (*above["path"], one.token),
                }
            )
        beams = going
    return nodes
