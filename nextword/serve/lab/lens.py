"""Logit lens: what each layer would say if it were the last.

p_l = softmax(head(norm(x_l)))
"""

from typing import Any

from torch import Tensor

from nextword.probe.lens import lens
from nextword.serve.looking import LookedAt, read, shown
from nextword.serve.service import Served

TOKENS = 64  # of a text
LIKELIEST = 5  # of each layer and place


class Body(LookedAt):
    """The text."""


def look(served: Served, body: Body) -> dict[str, Any]:
    """rows[layer][place]: the likeliest tokens with their probabilities; row 0 reads the embedding, the last the model.

    `said` is where the model's own first choice stands among that layer's (0 is first), `nats` its entropy.
    """
    found = read(served, body, TOKENS)
    layers = list(lens(served.model, found.ids, found.source))
    chosen_T = layers[-1].argmax(-1)
    return {
        "tokens": [shown(served.tokenizer, number) for number in found.ids],
        "rows": [row(served, logits_TV.double(), chosen_T) for logits_TV in layers],
        "next": served.model.kind != "encoder",
    }


def row(served: Served, logits_TV: Tensor, chosen_T: Tensor) -> list[dict[str, Any]]:
    """One layer, place by place."""
    logp_TV = logits_TV.log_softmax(-1)
    p_TV = logp_TV.exp()
    nats_T = -(p_TV * logp_TV.clamp(min=-1e9)).sum(-1)  # 0 · log 0 = 0
    rank_T = (logits_TV > logits_TV.gather(-1, chosen_T[:, None])).sum(-1)
    best_TK, ids_TK = p_TV.topk(min(LIKELIEST, p_TV.shape[-1]), -1)
    return [
        {
            "top": [
                {"id": number, "shown": shown(served.tokenizer, number), "p": p}
                for number, p in zip(ids, best, strict=True)
            ],
            "said": rank,
            "nats": nats,
        }
        for ids, best, rank, nats in zip(
            ids_TK.tolist(), best_TK.tolist(), rank_T.tolist(), nats_T.tolist(), strict=True
        )
    ]
