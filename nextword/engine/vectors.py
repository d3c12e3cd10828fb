"""Texts as vectors: what the model holds of each token behind its last layer, and one vector for a whole text.

    mean   of all its tokens (Reimers & Gurevych, "Sentence-BERT", 2019)
    cls    of the first token of an encoder's text, [CLS]
    last   of the last token, which in a decoder has seen all others
    max    of each coordinate; mean-sqrt, the sum over √T; weighted, token t counts t times (Muennighoff, "SGPT", 2022)

An encoder reads [CLS] text [SEP]. Of an encoder-decoder it is the encoder's vectors, of the text and its end token.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nextword.assembly.sentence import Sentence
from nextword.core.errors import SettingsError
from nextword.engine.fill import framed
from nextword.models.base import Batch, LanguageModel, fits, pad
from nextword.models.encoder_decoder import EncoderDecoder
from nextword.tokenizers.base import Tokenizer


@dataclass(frozen=True)
class States:
    """The tokens of a text as the model reads it (with [CLS] and [SEP] of an encoder), and a vector for each.

    vectors_TD: fp32, the last hidden states.
    """

    ids: tuple[int, ...]
    tokens: tuple[str, ...]
    vectors_TD: Tensor


def _mean(hidden_BTD: Tensor, mask_BT: Tensor) -> Tensor:
    weights_BT1 = mask_BT[..., None].float()
    return (hidden_BTD * weights_BT1).sum(1) / weights_BT1.sum(1)


def _first(hidden_BTD: Tensor, mask_BT: Tensor) -> Tensor:
    return hidden_BTD[:, 0]


def _last(hidden_BTD: Tensor, mask_BT: Tensor) -> Tensor:
    return hidden_BTD[torch.arange(len(mask_BT), device=mask_BT.device), mask_BT.sum(1) - 1]


def _max(hidden_BTD: Tensor, mask_BT: Tensor) -> Tensor:
    return hidden_BTD.masked_fill(~mask_BT[..., None], float("-inf")).amax(1)


def _mean_sqrt(hidden_BTD: Tensor, mask_BT: Tensor) -> Tensor:
    weights_BT1 = mask_BT[..., None].float()
    return (hidden_BTD * weights_BT1).sum(1) / weights_BT1.sum(1).sqrt()


def _weighted(hidden_BTD: Tensor, mask_BT: Tensor) -> Tensor:
    weights_BT1 = (mask_BT * torch.arange(1, mask_BT.shape[1] + 1, device=mask_BT.device))[..., None].float()
    return (hidden_BTD * weights_BT1).sum(1) / weights_BT1.sum(1)


POOLINGS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "mean": _mean,
    "cls": _first,
    "last": _last,
    "max": _max,
    "mean-sqrt": _mean_sqrt,
    "weighted": _weighted,
}


@torch.inference_mode()
def embed(
    model: LanguageModel,
    tokenizer: Tokenizer,
    texts: Sequence[str],
    poolings: Sequence[str] = ("mean",),
    rows: int = 32,
    sentence: Sentence | None = None,
) -> Tensor:
    """A vector for each text, (N, D) fp32; `rows` texts are computed together, `poolings` put one behind another.

    sentence: how a folder of sentence-transformers wants texts to be read; without it they are read whole.

    SettingsError for a text without tokens or longer than the model's context, a pooling that is none of POOLINGS or
    that does not fit the model, and for an n-gram, which has no vectors.
    """
    for pooling in poolings:
        if pooling not in POOLINGS:
            raise SettingsError(f"pooling must be one of {', '.join(POOLINGS)}, received {pooling!r}")
    if "cls" in poolings and (model.kind != "encoder" or tokenizer.cls_id is None):
        raise SettingsError(
            f"pooling 'cls' takes the vector of [CLS], which this {model.kind} does not read: use 'mean' or 'last'"
        )
    if sentence is None:
        encoded = [read_as(model, tokenizer, ids) for ids in tokenizer.encode_batch(list(texts))]
    else:
        encoded = [cut(model, tokenizer, text, sentence) for text in texts]
    vectors = []
    for start in range(0, len(encoded), rows):
        hidden_BTD, mask_BT = hidden(model, encoded[start : start + rows])
        vectors.append(torch.cat([POOLINGS[pooling](hidden_BTD, mask_BT) for pooling in poolings], -1))
    return torch.cat(vectors).clone()


@torch.inference_mode()
def states(model: LanguageModel, tokenizer: Tokenizer, text: str) -> States:
    """The last hidden state of every token of a text."""
    ids = read_as(model, tokenizer, tokenizer.encode(text))
    hidden_BTD, _ = hidden(model, [ids])
    return States(tuple(ids), tuple(map(tokenizer.token, ids)), hidden_BTD[0].clone())


def read_as(model: LanguageModel, tokenizer: Tokenizer, ids: list[int]) -> list[int]:
    """The ids of a text as the model reads it; SettingsError when there is nothing to read, or too much."""
    if not ids:
        raise SettingsError("an empty text has no embedding")
    end = [] if tokenizer.eos_id is None else [tokenizer.eos_id]
    read = {"decoder": ids, "encoder": framed(tokenizer, ids), "encoder-decoder": ids + end}[model.kind]
    if not fits(model, len(read)):
        raise SettingsError(
            f"a text has {len(read)} tokens, the model reads at most {model.max_length}: embed it in parts"
        )
    return read


def cut(model: LanguageModel, tokenizer: Tokenizer, text: str, sentence: Sentence) -> list[int]:
    """The ids of a text with its control tokens, cut to what the folder and the model allow."""
    ids, _, spans = tokenizer.framed_spans(text.lower() if sentence.lower else text)
    if all(side is None for side, *_ in spans):
        raise SettingsError("an empty text has no embedding")
    limit = min(one for one in (sentence.max_length, model.max_length, len(ids)) if one is not None)
    over = len(ids) - limit
    last = max(place for place, (side, *_) in enumerate(spans) if side is not None)
    return ids[: last + 1 - over] + ids[last + 1 :] if over else ids


def hidden(model: LanguageModel, rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """hidden_BTD in fp32 and mask_BT of rows of ids."""
    device = next(iter(model.state_dict().values())).device
    batch: Batch = pad(rows).to(device)
    found = model.encode(batch) if isinstance(model, EncoderDecoder) else model.hidden(batch).hidden_BTD
    if not found.is_floating_point():
        raise SettingsError("this kind of model has no hidden states that could be embeddings: it counts")
    mask_BT = torch.ones_like(batch.ids_BT, dtype=torch.bool) if batch.mask_BT is None else batch.mask_BT
    return found.float(), mask_BT
