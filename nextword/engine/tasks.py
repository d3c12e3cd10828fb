"""What a model that was fine-tuned for a task says of a text: its class, the classes of its tokens, or an answer.

    classify   softmax(y)[class], or σ(y) of each class where several may be right, or y itself (regression)
    tag        softmax(y_t)[class] of each token; neighbours of one class are one span
    answer     the span (i, j), i ≤ j, of the context with the largest start_i + end_j (Devlin et al., "BERT", 2019)

Two texts are read as the tokenizer's own file says, [CLS] a [SEP] b [SEP] where it says nothing. A context that is
longer than the model reads is read in windows that overlap by half.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from nextword.core.errors import SettingsError
from nextword.models.base import Batch, LanguageModel, fits, pad
from nextword.models.finite import finite
from nextword.models.heads import SEQUENCE, SPAN, TOKEN
from nextword.models.labels import NUMBER, SEVERAL, labels, problem
from nextword.models.transformer import Transformer
from nextword.tokenizers.base import Tokenizer

NONE = "O"  # the label of what is nothing in particular, left out of spans
BEGIN, INSIDE = "B-", "I-"  # before a label: where a span begins, and goes on (Ramshaw & Marcus, 1995)


@dataclass(frozen=True)
class Label:
    """A class with its score; the probability is None in a regression, whose answer the score is."""

    label: str
    score: float
    probability: float | None


@dataclass(frozen=True)
class Tag:
    """A piece of a text, from character `start` to before `end`, its label and the mean probability of its tokens."""

    text: str
    label: str
    probability: float
    start: int
    end: int


@dataclass(frozen=True)
class Answer:
    """A piece of the context, from character `start` to before `end`.

    score: start_i + end_j. probability: p(i) · p(j) among the tokens of the context that were read together.
    """

    text: str
    score: float
    probability: float
    start: int
    end: int


@torch.inference_mode()
def classify(
    model: LanguageModel, tokenizer: Tokenizer, texts: Sequence[str], seconds: Sequence[str] | None, rows: int
) -> list[list[Label]]:
    """For each text (with its second one, where there are) all classes, the best first; `rows` are read together."""
    judge, names = _fine_tuned(model, SEQUENCE), labels(model.config)
    if seconds is not None and len(seconds) != len(texts):
        raise SettingsError(f"there must be a second text for each: received {len(texts)} and {len(seconds)}")
    pieces = [read(judge, tokenizer, text, seconds and seconds[number]) for number, text in enumerate(texts)]
    found = []
    for start in range(0, len(pieces), rows):
        for scores in _scores(judge, SEQUENCE, pieces[start : start + rows]):
            kind = problem(model.config)
            chances = scores.sigmoid() if kind == SEVERAL else scores.softmax(-1)
            given: list[float | None] = [None] * len(names) if kind == NUMBER else list(chances.tolist())
            several = [Label(*parts) for parts in zip(names, scores.tolist(), given, strict=True)]
            found.append(sorted(several, key=lambda one: -one.score))
    return found


@torch.inference_mode()
def tag(model: LanguageModel, tokenizer: Tokenizer, text: str, grouped: bool) -> list[Tag]:
    """The spans of a text that have a class; without `grouped` every token, with O and B- and I- as the labels are."""
    judge, names = _fine_tuned(model, TOKEN), labels(model.config)
    piece = read(judge, tokenizer, text)
    (scores_TC,) = _scores(judge, TOKEN, [piece])
    best = scores_TC.softmax(-1).max(-1)
    tokens = []
    for place, (side, start, end) in enumerate(piece.spans):
        if side == 0:
            label = names[int(best.indices[place])]
            tokens.append(Tag(text[start:end], label, float(best.values[place]), start, end))
    return _grouped(tokens, text) if grouped else tokens


def _grouped(tokens: Sequence[Tag], text: str) -> list[Tag]:
    """Neighbours of one label as one; B- begins another even behind its own label, but not within a word."""
    groups: list[list[Tag]] = []
    last = NONE
    for token in tokens:
        kind = token.label.removeprefix(BEGIN).removeprefix(INSIDE)
        within = text[max(token.start - 1, 0) : token.start + 1].isalnum() and token.start > 0
        if kind != NONE:
            if kind != last or (token.label.startswith(BEGIN) and not within):
                groups.append([])
            groups[-1].append(replace(token, label=kind))
        last = kind
    found = []
    for group in groups:
        start, end = group[0].start, group[-1].end
        mean = sum(token.probability for token in group) / len(group)
        found.append(Tag(text[start:end], group[0].label, mean, start, end))
    return found


@torch.inference_mode()
def answer(model: LanguageModel, tokenizer: Tokenizer, question: str, context: str, max_tokens: int) -> Answer:
    """The best span of at most `max_tokens` tokens of the context."""
    judge = _fine_tuned(model, SPAN)
    found = []
    for piece in windows(judge, read(judge, tokenizer, question, context, whole=True)):
        (scores_T2,) = _scores(judge, SPAN, [piece])
        places = [place for place, (side, *_) in enumerate(piece.spans) if side == 1]
        begins, ends = scores_T2[places].unbind(-1)
        apart = torch.arange(len(places))[None, :] - torch.arange(len(places))[:, None]
        both = (begins[:, None] + ends).masked_fill((apart < 0) | (apart >= max_tokens), float("-inf"))
        i, j = divmod(int(both.argmax()), len(places))
        chance = float(begins.softmax(-1)[i] * ends.softmax(-1)[j])
        start, end = piece.spans[places[i]][1], piece.spans[places[j]][2]
        found.append(Answer(context[start:end], float(both[i, j]), chance, start, end))
    return max(found, key=lambda one: one.score)


@dataclass(frozen=True)
class Piece:
    """What the model reads: ids, token types, and of each token whose text it is of (None: of neither) and where."""

    ids: tuple[int, ...]
    types: tuple[int, ...]
    spans: tuple[tuple[int | None, int, int], ...]

    def without(self, start: int, end: int) -> "Piece":
        """The same without the tokens from `start` to before `end`."""
        return Piece(*(row[:start] + row[end:] for row in (self.ids, self.types, self.spans)))


def read(model: Transformer, tokenizer: Tokenizer, first: str, second: str | None = None, whole: bool = False) -> Piece:
    """One or two texts as the model reads them; SettingsError for an empty text, or one too long (unless `whole`)."""
    for text in (first, second):
        if text is not None and not tokenizer.encode(text):
            raise SettingsError("an empty text says nothing: give one with at least one token")
    ids, types, spans = tokenizer.framed_spans(first, second)
    piece = Piece(tuple(ids), tuple(types), tuple(_stripped(span, first, second) for span in spans))
    if not whole and not fits(model, len(ids)):
        raise SettingsError(f"the text has {len(ids)} tokens, the model reads at most {model.max_length}: shorten it")
    return piece


def windows(model: Transformer, piece: Piece) -> list[Piece]:
    """The piece itself where the model can read it, or pieces whose contexts overlap by half."""
    if fits(model, len(piece.ids)):
        return [piece]
    places = [place for place, (side, *_) in enumerate(piece.spans) if side == 1]
    room = int(model.max_length or 0) - (len(piece.ids) - len(places))
    if room < 2:  # noqa: PLR2004 - half of it must be a token
        raise SettingsError(f"the question leaves no room for a context: the model reads {model.max_length} tokens")
    begin, end = places[0], places[-1] + 1
    starts = [*range(begin, end - room, room // 2), end - room]
    return [piece.without(start + room, end).without(begin, start) for start in starts]


def _stripped(span: tuple[int | None, int, int], first: str, second: str | None) -> tuple[int | None, int, int]:
    """Without the space that some tokenizers count to the token behind it."""
    side, start, end = span
    if side is None:
        return span
    text = (first if side == 0 else second or "")[start:end]
    kept = text.strip()
    start += len(text) - len(text.lstrip()) if kept else 0
    return side, start, start + len(kept) if kept else end


def _scores(model: Transformer, head: str, pieces: Sequence[Piece]) -> list[Tensor]:
    """What the head says of each piece, on the CPU; padding is not cut off."""
    batch = pad([piece.ids for piece in pieces])
    if model.config.get("type_vocab_size", 1) > 1:
        batch = Batch(batch.ids_BT, batch.mask_BT, types_BT=pad([piece.types for piece in pieces]).ids_BT)
    batch = batch.to(model.embedding.like.device)
    return list(finite(model.heads[head](model.hidden(batch).hidden_BTD, batch), model).cpu())


NEEDED = {
    SEQUENCE: "classify needs a model fine-tuned to classify texts (...ForSequenceClassification)",
    TOKEN: "tag needs a model fine-tuned to classify tokens (...ForTokenClassification)",
    SPAN: "answer needs a model fine-tuned to find answers (...ForQuestionAnswering)",
}


def _fine_tuned(model: LanguageModel, head: str) -> Transformer:
    if not isinstance(model, Transformer) or head not in model.heads:
        named = model.config.get("architectures") or [model.config.get("model_type")]
        raise SettingsError(f"{NEEDED[head]}; this is a {named[0]}")
    return model
