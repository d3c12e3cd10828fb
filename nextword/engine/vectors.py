"""Texts as vectors: what the model holds of each token behind its last layer, and one vector for a whole text.

An encoder reads [CLS] text [SEP], or what its tokenizer's folder puts around a text. Of an encoder-decoder it is the
encoder's vectors, of the text and its end token. How one vector is made of many: `nextword.engine.poolings`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nextword.assembly.sentence import Sentence
from nextword.core.errors import SettingsError
from nextword.engine.fill import framed
from nextword.engine.layers import stopped
from nextword.engine.poolings import found, real, usual
from nextword.models.base import Batch, LanguageModel, fits, pad
from nextword.models.encoder_decoder import EncoderDecoder
from nextword.models.finite import finite
from nextword.tokenizers.base import Tokenizer


@dataclass(frozen=True)
class States:
    """The tokens of a text as the model reads it (with [CLS] and [SEP] of an encoder), and a vector for each.

    vectors_TD: fp32, the last hidden states, or those behind the layer that was asked for.
    """

    ids: tuple[int, ...]
    tokens: tuple[str, ...]
    vectors_TD: Tensor


@torch.inference_mode()
def embed(
    model: LanguageModel,
    tokenizer: Tokenizer,
    texts: Sequence[str],
    sentence: Sentence | None = None,
    *,
    pooling: str | None = None,
    normalise: bool | None = None,
    prompt: str | None = None,
    rows: int = 32,
) -> Tensor:
    """A vector for each text, (N, D) fp32; `rows` texts are computed together.

    sentence: how a folder of sentence-transformers wants texts to be read and their vectors made; without it they are
    read whole. pooling and normalise count more than what it says; prompt: the name of one of its prompts.

    SettingsError for a text without tokens or longer than the model's context, a pooling that is none of POOLINGS or
    that does not fit the model, a prompt that is not there, and for an n-gram, which has no vectors.
    """
    poolings = (usual(model),) if sentence is None else sentence.poolings
    pools = [found(model, tokenizer, name) for name in (poolings if pooling is None else (pooling,))]
    before = prompted(sentence, prompt)
    if sentence is None:
        encoded = [read_as(model, tokenizer, ids) for ids in tokenizer.encode_batch(list(texts))]
    else:
        encoded = [cut(model, tokenizer, before + text, sentence) for text in texts]
    passed = 0 if sentence is None or sentence.with_prompt else prompt_length(tokenizer, before, sentence)
    vectors = []
    for start in range(0, len(encoded), rows):
        hidden_BTD, batch = hidden(model, encoded[start : start + rows])
        seen = batch if not passed else without_first(batch, passed)
        vectors.append(torch.cat([pool(hidden_BTD, seen) for pool in pools], -1))
    vectors_ND = torch.cat(vectors).clone()
    for layer in () if sentence is None else sentence.dense:
        vectors_ND = layer(vectors_ND)
    to_one = (sentence is not None and sentence.normalise) if normalise is None else normalise
    return torch.nn.functional.normalize(vectors_ND, dim=-1) if to_one else vectors_ND


def prompted(sentence: Sentence | None, name: str | None) -> str:
    """What stands before every text: the prompt of that name, or the folder's usual one; "" where it has none."""
    prompts = {} if sentence is None else sentence.prompts
    name = sentence.prompt if name is None and sentence is not None else name
    if name is None:
        return ""
    if name not in prompts:
        raise SettingsError(
            f"the folder has no prompt {name!r}; it has {', '.join(map(repr, prompts)) or 'none'} "
            "(config_sentence_transformers.json)"
        )
    return prompts[name]


def prompt_length(tokenizer: Tokenizer, prompt: str, sentence: Sentence) -> int:
    """How many tokens a prompt takes at the beginning of a text, with what stands before it."""
    if not prompt:
        return 0
    _, _, spans = tokenizer.framed_spans(prompt.lower() if sentence.lower else prompt)
    return 1 + max(place for place, (side, *_) in enumerate(spans) if side is not None)


def without_first(batch: Batch, count: int) -> Batch:
    """The same rows, whose first tokens are not counted as real."""
    mask_BT = real(batch).clone()
    mask_BT[:, :count] = False
    return Batch(batch.ids_BT, mask_BT)


@torch.inference_mode()
def states(
    model: LanguageModel, tokenizer: Tokenizer, text: str, length: int | None = None, layer: int | None = None
) -> States:
    """The last hidden state of every token of a text.

    length: the text is cut, or padded, to so many tokens, and padding is read as if it were text, which is what image
    generators do. layer: the states behind so many layers, before the last norm; a negative number counts from the
    end as transformers' `hidden_states` do (-2: behind all layers but the last).
    """
    ids = tokenizer.encode(text)
    read = read_as(model, tokenizer, ids) if length is None else exactly(model, tokenizer, ids, length)
    states_BTD, _ = hidden(model if layer is None else stopped(model, layer), [read])
    return States(tuple(read), tuple(map(tokenizer.token, read)), states_BTD[0].clone())


def exactly(model: LanguageModel, tokenizer: Tokenizer, ids: list[int], length: int) -> list[int]:
    """The ids of a text as the model reads it, cut before its end token or padded to `length`."""
    if tokenizer.pad_id is None:
        raise SettingsError("the tokenizer has no padding token, with which a text could be brought to a length")
    if not fits(model, length):
        raise SettingsError(f"the model reads at most {model.max_length} tokens: a length of {length} is too much")
    room = length - len(around(model, tokenizer, []))
    if room < 1:
        raise SettingsError(f"a length of {length} leaves no room for a text beside the tokens that stand around it")
    read = around(model, tokenizer, ids[:room])
    return read + [tokenizer.pad_id] * (length - len(read))


def read_as(model: LanguageModel, tokenizer: Tokenizer, ids: list[int]) -> list[int]:
    """The ids of a text as the model reads it; SettingsError when there is nothing to read, or too much."""
    if not ids:
        raise SettingsError("an empty text has no embedding")
    read = around(model, tokenizer, ids)
    if not fits(model, len(read)):
        raise SettingsError(
            f"a text has {len(read)} tokens, the model reads at most {model.max_length}: embed it in parts"
        )
    return read


def around(model: LanguageModel, tokenizer: Tokenizer, ids: list[int]) -> list[int]:
    """The ids of a text with what a model of this kind reads around it."""
    end = [] if tokenizer.eos_id is None else [tokenizer.eos_id]
    return {"decoder": ids, "encoder": framed(tokenizer, ids), "encoder-decoder": ids + end}[model.kind]


def cut(model: LanguageModel, tokenizer: Tokenizer, text: str, sentence: Sentence) -> list[int]:
    """The ids of a text with its control tokens, cut to what the folder and the model allow."""
    ids, _, spans = tokenizer.framed_spans(text.lower() if sentence.lower else text)
    if all(side is None for side, *_ in spans):
        raise SettingsError("an empty text has no embedding")
    limit = min(one for one in (sentence.max_length, model.max_length, len(ids)) if one is not None)
    over = len(ids) - limit
    last = max(place for place, (side, *_) in enumerate(spans) if side is not None)
    return ids[: last + 1 - over] + ids[last + 1 :] if over else ids


def hidden(model: LanguageModel, rows: Sequence[Sequence[int]]) -> tuple[Tensor, Batch]:
    """hidden_BTD in fp32 of rows of ids, and the batch that they are."""
    device = next(iter(model.state_dict().values())).device
    batch: Batch = pad(rows).to(device)
    found = model.encode(batch) if isinstance(model, EncoderDecoder) else model.hidden(batch).hidden_BTD
    if not found.is_floating_point():
        raise SettingsError("this kind of model has no hidden states that could be embeddings: it counts")
    return finite(found.float(), model), batch
