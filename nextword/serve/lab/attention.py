"""Attention: from where each token takes, in every head of one layer.

a = softmax(Q Kᵀ / √E) V
"""

from typing import Any, Literal

from nextword.probe.attention import attention_maps
from nextword.serve.errors import Refusal
from nextword.serve.looking import LookedAt, read, shown
from nextword.serve.service import Served

TOKENS = 64  # of a text
DIGITS = 5  # of a weight behind the point


class Body(LookedAt):
    """The text, the layer (from 0), and of an encoder-decoder which of its maps."""

    layer: int = 0
    map: Literal["own", "source", "cross"] = "own"


def look(served: Served, body: Body) -> dict[str, Any]:
    """weights[head][query][key], which sum to 1 over the keys; `queries` and `keys` are the tokens."""
    found = read(served, body, TOKENS)
    maps = attention_maps(served.model, found.ids, found.source)
    own, source = ([shown(served.tokenizer, number) for number in ids] for ids in (found.ids, found.source or ()))
    weights_LHTS, queries, keys = {
        "own": (maps.own_LHTT, own, own),
        "source": (maps.source_LHSS, source, source),
        "cross": (maps.cross_LHTS, own, source),
    }[body.map]
    if weights_LHTS is None:
        raise Refusal(400, f"only an encoder-decoder has a map {body.map!r}: ask for 'own'", param="map")
    layers = len(weights_LHTS)
    if not 0 <= body.layer < layers:
        raise Refusal(400, f"layer is {body.layer}: this model has 0 to {layers - 1}", param="layer")
    return {
        "layer": body.layer,
        "layers": layers,
        "queries": queries,
        "keys": keys,
        "weights": [
            [[round(weight, DIGITS) for weight in row] for row in head] for head in weights_LHTS[body.layer].tolist()
        ],
    }
