"""Gaps in a text: an encoder says what stands at each mask, an encoder-decoder writes what its sentinels stand for.

    The [MASK] sat on the mat.             P(token | everything around it), each mask on its own (Devlin et al., 2019)
    The <extra_id_0> on the mat.           source in, "<extra_id_0> cat sat <extra_id_1>" out (Raffel et al., 2020)
    The <mask> sat on the mat.             P(token | the source, what the decoder has rewritten) (Lewis et al., 2020)

BART rewrites its source, and a mask of its stands for any number of tokens; here, as transformers documents it, its
decoder reads the source up to a mask and says which token comes next.

Marks in a text are found as characters and put in as ids; all else that looks like a control token is text.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from nextword.core.errors import SettingsError
from nextword.decode.settings import SamplingSettings
from nextword.engine.generate import generate
from nextword.engine.request import Request, start_id
from nextword.models.base import Batch, LanguageModel, fits
from nextword.models.finite import finite
from nextword.tokenizers.base import Tokenizer
from nextword.tokenizers.names import SENTINEL

SENTINEL_MARK = re.compile(r"<extra_id_\d+>")


@dataclass(frozen=True)
class Filling:
    """What may stand in a gap: its text, ids, and probability (of all its tokens together)."""

    text: str
    ids: tuple[int, ...]
    probability: float


@dataclass(frozen=True)
class Filled:
    """A text with its gaps filled by the best of each, and for each gap in order the candidates, best first."""

    text: str
    gaps: tuple[tuple[Filling, ...], ...]


def fill(model: LanguageModel, tokenizer: Tokenizer, text: str, top: int, max_tokens: int) -> Filled:
    """The gaps of one text; `top` candidates for each mask, or up to `max_tokens` tokens for each sentinel.

    SettingsError for a text without gaps, a tokenizer without the marks, or a decoder.
    """
    rewrites = tokenizer.mask_id is not None and tokenizer.special_id(SENTINEL.format(0)) is None
    if model.kind == "encoder" or (model.kind == "encoder-decoder" and rewrites):
        return _masks(model, tokenizer, text, top)
    if model.kind == "encoder-decoder":
        return _sentinels(model, tokenizer, text, max_tokens)
    raise SettingsError(
        "fill needs an encoder (bert) or an encoder-decoder (t5, bart); a decoder reads from left to right: it can "
        "continue a text (generate), or rank candidates for the gap (logprob)"
    )


@torch.inference_mode()
def _masks(model: LanguageModel, tokenizer: Tokenizer, text: str, top: int) -> Filled:
    if tokenizer.mask_id is None:
        raise SettingsError(
            "this tokenizer has no mask token, so the model was not made to fill masks: train one with "
            "`nextword tokenizer train --for bert`"
        )
    mask = tokenizer.token(tokenizer.mask_id)
    parts = text.split(mask)
    if len(parts) == 1:
        raise SettingsError(f"the text has no {mask}: write {mask} where something is to be filled in")
    ids = framed(tokenizer, join(tokenizer, parts, [tokenizer.mask_id] * (len(parts) - 1)))
    if not fits(model, len(ids)):
        raise SettingsError(f"the text has {len(ids)} tokens, the model reads at most {model.max_length}: shorten it")
    batch = Batch(torch.tensor([ids]))
    if model.kind == "encoder-decoder":
        batch = Batch(torch.tensor([[start_id(model, tokenizer), *ids[:-1]]]), source=batch)
    places = [place for place, number in enumerate(ids) if number == tokenizer.mask_id]
    hidden_ND = model.hidden(batch.to(model.embedding.like.device)).hidden_BTD[0, places]
    best = finite(model.logits(hidden_ND), model).softmax(-1).topk(min(top, model.vocab_size))
    gaps = tuple(
        tuple(Filling(tokenizer.decode([number]), (number,), p) for p, number in zip(*columns, strict=True))
        for columns in zip(best.values.tolist(), best.indices.tolist(), strict=True)
    )
    for place, gap in zip(places, gaps, strict=True):
        ids[place] = gap[0].ids[0]
    return Filled(tokenizer.decode(ids), gaps)


def _sentinels(model: LanguageModel, tokenizer: Tokenizer, text: str, max_tokens: int) -> Filled:
    if tokenizer.special_id(SENTINEL.format(0)) is None:
        raise SettingsError(
            f"this tokenizer has no sentinels ({SENTINEL.format(0)} ...), so the model was not made to fill gaps: "
            "train one with `nextword tokenizer train --for t5`"
        )
    names, parts = SENTINEL_MARK.findall(text), SENTINEL_MARK.split(text)
    if names != [SENTINEL.format(number) for number in range(len(names))] or not names:
        found = f"has {', '.join(names)}" if names else "has none"
        raise SettingsError(
            f"gaps are written {SENTINEL.format(0)}, {SENTINEL.format(1)}, ... in order: the text {found}"
        )
    marks = [tokenizer.special_id(name) for name in (*names, SENTINEL.format(len(names)))]
    if None in marks:
        raise SettingsError(f"the tokenizer has {marks.index(None)} sentinels, the text needs one more than its gaps")
    source = join(tokenizer, parts, marks[:-1])
    settings = SamplingSettings(temperature=0, max_tokens=(max_tokens + 1) * len(names), seed=0)
    request = Request.about(model, tokenizer, tuple(source), settings)
    request = Request(request.ids, settings, request.eos_ids | {marks[-1]}, tokenizer, request.source)
    (result,) = generate(model, [request], "never")
    gaps = []
    for number, _ in enumerate(names):
        ids, logprobs = _between(result.ids, result.logprobs, marks, number)
        gaps.append((Filling(tokenizer.decode(ids).strip(), tuple(ids), math.exp(sum(logprobs))),))
    whole = "".join(part + gap[0].text for part, gap in zip(parts, gaps, strict=False)) + parts[-1]
    return Filled(whole, tuple(gaps))


def _between(
    ids: Sequence[int], logprobs: Sequence[float], marks: Sequence[int | None], number: int
) -> tuple[list[int], list[float]]:
    """The tokens behind a sentinel up to the next, and their log-probabilities; nothing where it was not written."""
    if marks[number] not in ids:
        return [], []
    begin = ids.index(marks[number]) + 1  # type: ignore[arg-type]
    end = next((place for place in range(begin, len(ids)) if ids[place] in marks), len(ids))
    return list(ids[begin:end]), list(logprobs[begin:end])


def join(tokenizer: Tokenizer, parts: Sequence[str], marks: Sequence[int | None]) -> list[int]:
    """The ids of a text's parts with a mark between each two.

    Where words bring their space with them ("Ġcat", "▁cat"), the space before a mark belongs to what it stands for.
    """
    spelled = map(tokenizer.token_bytes, range(tokenizer.vocab_size))
    bring = any(token.startswith(b" ") and token.strip() for token in spelled)
    ids = tokenizer.encode(parts[0].rstrip(" ") if bring and len(parts) > 1 else parts[0])
    for number, (mark, part) in enumerate(zip(marks, parts[1:], strict=True), 2):
        ids += [int(mark or 0), *tokenizer.encode(part.rstrip(" ") if bring and number < len(parts) else part)]
    return ids


def framed(tokenizer: Tokenizer, ids: Sequence[int]) -> list[int]:
    """A text as an encoder reads it: as the tokenizer's folder says, else [CLS] text [SEP] or its end token."""
    if tokenizer.begins or tokenizer.ends:
        return tokenizer.framed(ids)
    last = tokenizer.eos_id if tokenizer.sep_id is None else tokenizer.sep_id
    begin = [] if tokenizer.cls_id is None else [tokenizer.cls_id]
    return [*begin, *ids, *([] if last is None else [last])]
