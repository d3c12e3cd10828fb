"""Ways to make one vector of the states of a text's tokens.

mean   of all its tokens (Reimers & Gurevych, "Sentence-BERT", 2019)
cls    of the first token of an encoder's text, [CLS]
last   of the last token, which in a decoder has seen all others
max    of each coordinate; mean-sqrt, the sum over √T; weighted, token t counts t times (Muennighoff, "SGPT", 2022)
own    what a head of the model makes of them: CLIP's end token (Radford et al., 2021), or BERT's pooled [CLS]
"""

from collections.abc import Callable

import torch
from torch import Tensor

from nextword.core.errors import SettingsError
from nextword.models import heads
from nextword.models.base import Batch, LanguageModel
from nextword.models.transformer import Transformer
from nextword.tokenizers.base import Tokenizer

Pooling = Callable[[Tensor, Batch], Tensor]  # hidden_BTD and what was read -> (B, D)
OWN = "own"


def real(batch: Batch) -> Tensor:
    """mask_BT of the ids that are real."""
    return torch.ones_like(batch.ids_BT, dtype=torch.bool) if batch.mask_BT is None else batch.mask_BT


def _mean(hidden_BTD: Tensor, batch: Batch) -> Tensor:
    return heads.mean(hidden_BTD, batch, None)


def _first(hidden_BTD: Tensor, batch: Batch) -> Tensor:
    return heads.first(hidden_BTD, batch, None)


def _last(hidden_BTD: Tensor, batch: Batch) -> Tensor:
    return heads.last(hidden_BTD, batch, None)


def _max(hidden_BTD: Tensor, batch: Batch) -> Tensor:
    return hidden_BTD.masked_fill(~real(batch)[..., None], float("-inf")).amax(1)


def _mean_sqrt(hidden_BTD: Tensor, batch: Batch) -> Tensor:
    weights_BT1 = real(batch)[..., None].float()
    return (hidden_BTD * weights_BT1).sum(1) / weights_BT1.sum(1).sqrt()


def _weighted(hidden_BTD: Tensor, batch: Batch) -> Tensor:
    places_T = torch.arange(1, batch.ids_BT.shape[1] + 1, device=batch.ids_BT.device)
    weights_BT1 = (real(batch) * places_T)[..., None].float()
    return (hidden_BTD * weights_BT1).sum(1) / weights_BT1.sum(1)


POOLINGS: dict[str, Pooling] = {
    "mean": _mean,
    "cls": _first,
    "last": _last,
    "max": _max,
    "mean-sqrt": _mean_sqrt,
    "weighted": _weighted,
}


def found(model: LanguageModel, tokenizer: Tokenizer, name: str) -> Pooling:
    """The pooling of that name; SettingsError where there is none, or the model has no use for it."""
    known = POOLINGS if (own := own_head(model)) is None else POOLINGS | {OWN: own}
    if name not in known:
        raise SettingsError(f"pooling must be one of {', '.join(known)}, received {name!r}")
    if name == "cls" and (model.kind != "encoder" or tokenizer.cls_id is None):
        raise SettingsError(
            f"pooling 'cls' takes the vector of [CLS], which this {model.kind} does not read: use 'mean' or 'last'"
        )
    return known[name]


def own_head(model: LanguageModel) -> Pooling | None:
    """The head with which a model makes a vector of a text itself; None where it has none."""
    if not isinstance(model, Transformer):
        return None
    name = next((name for name in (heads.VECTOR, heads.POOLED) if name in model.heads), None)
    if name is None:
        return None
    kind = model.embedding.like.dtype  # in which the states came, before they became fp32
    return lambda hidden_BTD, batch: model.heads[name](hidden_BTD.to(kind), batch)


def usual(model: LanguageModel) -> str:
    """The pooling of a model whose folder says nothing: its own where it was trained for that, else the mean."""
    return OWN if isinstance(model, Transformer) and heads.VECTOR in model.heads else "mean"
