"""How well a model fills gaps: the figures of encoders and encoder-decoders, which give no left-to-right perplexity.

    masked accuracy      of 15 % hidden tokens, the share for which the likeliest token is right; beside it the share
                         of the most frequent one among them (unigram accuracy)
    pseudo-perplexity    exp(−mean over positions of log p(token | all others)), each token hidden by itself
    span loss            −mean log p of what has been taken out, given the rest (nats per target token)
    replaced accuracy    how many positions are told right when 15 % of the tokens have been swapped for others of the
                         same text; beside it the share of untouched ones (majority accuracy)

A pseudo-perplexity is no perplexity, since each token is seen by its neighbours; it compares encoders that share a
vocabulary. (Salazar et al., "Masked Language Model Scoring", 2020.)
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from nextword.core.errors import DataError, SettingsError
from nextword.data.feed import make, open_source
from nextword.data.form import Form, Row, draw
from nextword.data.forms.masked import RATE, Hider, Masked
from nextword.data.labelled import IGNORED, Labelled
from nextword.data.marks import Marks
from nextword.data.stream import Place, TokenRow
from nextword.evals.settings import EvaluateSection
from nextword.models.base import Batch, LanguageModel, pad
from nextword.models.transformer import Transformer
from nextword.nn.loss import Loss
from nextword.objectives.base import Sums, add, add_terms, inputs, mean
from nextword.objectives.choose import choose, heads
from nextword.objectives.settings import ObjectiveSettings
from nextword.tokenizers.base import Tokenizer

LENGTH = 128  # positions of a row
PSEUDO_TOKENS = 512  # each costs a reading of its whole row
REPLACED = "replaced_token"

Progress = Callable[[int], None]
Reader = LanguageModel | Transformer


def gaps(
    model: LanguageModel,
    tokenizer: Tokenizer,
    tokens: TokenRow,
    settings: EvaluateSection,
    progress: Progress = lambda done: None,
) -> dict[str, Any]:
    """Figures on tokens, in the layout of `nextword.evals.perplexity`: `all`, with `metrics` by name, and `what`.

    `progress` gets the tokens read so far. SettingsError for a decoder; DataError where there is nothing to score.
    """
    if model.kind == "decoder":
        raise SettingsError("a decoder reads from left to right: evaluate it with --perplexity")
    if REPLACED in heads(model):
        return replaced(cast(Transformer, model), tokenizer, tokens, settings, progress)
    objective = choose(ObjectiveSettings(), model, tokenizer)
    loss: Loss = {}
    sums: Sums = {}
    rows = chosen(tokens, objective.form, model, settings)
    with torch.inference_mode():
        for batch in batches(rows, objective.form, length_of(model), settings, progress):
            terms, more = objective.look(model, batch.to(device_of(model)))
            loss, sums = add_terms(loss, terms), add(sums, more)
    (term,) = loss.values()
    metrics = objective.figures(sums)
    figures = {"tokens": int(term.count), "loss": mean(loss), "perplexity": None, "bits_per_byte": None}
    if model.kind == "encoder":
        nats = pseudo_nats(cast(Transformer, model), tokenizer, rows, settings)
        metrics["pseudo_perplexity"] = math.exp(min(float(nats.mean()), 700.0))
        what = (
            f"{RATE:.0%} of the tokens hidden, in rows of {length_of(model)}; pseudo-perplexity on {len(nats)} tokens"
        )
    else:
        metrics["span_perplexity"] = math.exp(min(mean(loss), 700.0))
        what = f"spans of {RATE:.0%} of the tokens taken out of rows of {length_of(model)}"
    return {"what": what, "all": figures | {"metrics": metrics}, "sources": {}}


def chosen(tokens: TokenRow, form: Form, model: Reader, settings: EvaluateSection) -> list[Row]:
    """Rows spread over the tokens; all of them without a limit."""
    length = length_of(model)
    if len(tokens) < form.room(length) + form.extra:
        raise DataError(
            f"there are {len(tokens)} tokens, and one row needs {form.room(length) + form.extra}: give more text"
        )
    wanted = min(settings.max_tokens or len(tokens), len(tokens))
    return open_source(tokens, form, length, Place(0)).fixed(max(1, wanted // form.room(length)))


def length_of(model: Reader) -> int:
    """Positions of a row."""
    return LENGTH if model.max_length is None else min(LENGTH, model.max_length)


def device_of(model: object) -> torch.device:
    """Where the model's tensors are."""
    return next(cast(nn.Module, model).parameters()).device


def batches(
    rows: Sequence[Row], form: Form, length: int, settings: EvaluateSection, progress: Progress
) -> Iterator[Labelled]:
    """The rows in a form, as many at once as the settings allow."""
    at_once, done = max(1, settings.batch_tokens // length), 0
    for start in range(0, len(rows), at_once):
        batch = make(form, rows[start : start + at_once], length)
        yield batch
        done += batch.tokens
        progress(done)


@torch.inference_mode()
def pseudo_nats(model: Transformer, tokenizer: Tokenizer, rows: Sequence[Row], settings: EvaluateSection) -> Tensor:
    """−log p of tokens spread over the rows, each hidden by itself and predicted from all others of its row; fp64."""
    marks = Marks.of(tokenizer)
    form = Masked(marks, Hider(marks))
    special, length = marks.hides(), length_of(model)
    framed = [form.wrapped(row.pieces[0]) for row in rows]
    places = [(row, int(place)) for row, ids in enumerate(framed) for place in np.flatnonzero(~special[ids])]
    spread = np.unique(np.linspace(0, len(places) - 1, min(PSEUDO_TOKENS, len(places))).astype(np.int64))
    found, at_once = [], max(1, settings.batch_tokens // length)
    for start in range(0, len(spread), at_once):
        some = [places[number] for number in spread[start : start + at_once]]
        padded = pad([framed[row].tolist() for row, _ in some])  # a text's last row may be shorter
        ids_BT = padded.ids_BT
        place_B = torch.tensor([place for _, place in some])[:, None]
        labels_BT = torch.full_like(ids_BT, IGNORED).scatter(1, place_B, ids_BT.gather(1, place_B))
        hidden = replace(padded, ids_BT=ids_BT.scatter(1, place_B, form.hide.mask))
        device = device_of(model)
        logp_BT = model.score(hidden.to(device), labels_BT.to(device))
        found.append(-logp_BT.sum(1).double().cpu())
    return torch.cat(found)


@torch.inference_mode()
def replaced(
    model: Transformer, tokenizer: Tokenizer, tokens: TokenRow, settings: EvaluateSection, progress: Progress
) -> dict[str, Any]:
    """The discriminator on text in which tokens have been swapped for others of the same rows, without a generator."""
    marks = Marks.of(tokenizer)
    form = Masked(marks, Hider(marks))
    told = count = changed = 0
    nats = 0.0
    rows = chosen(tokens, form, model, settings)
    ordinary = np.concatenate([row.pieces[0] for row in rows])
    ordinary = ordinary[~marks.hides()[ordinary]].astype(np.int64)
    at = 0
    for batch in batches(rows, form, length_of(model), settings, progress):
        hidden_BT = batch.labels_BT != IGNORED
        ids_BT = torch.where(hidden_BT, batch.labels_BT, batch.ids_BT)
        other = [draw(row, 1).integers(len(ordinary), size=ids_BT.shape[1]) for row in rows[at : at + batch.rows]]
        at += batch.rows
        swapped_BT = torch.where(hidden_BT, torch.from_numpy(ordinary[np.stack(other)]), ids_BT)
        wrong_BT = swapped_BT != ids_BT
        read = Batch(swapped_BT.to(device_of(model)), inputs(batch).mask_BT)
        odds_BT = model.heads[REPLACED](model.hidden(read).hidden_BTD, read).cpu()
        real_BT = torch.ones_like(wrong_BT) if batch.mask_BT is None else batch.mask_BT
        told += int((((odds_BT > 0) == wrong_BT) & real_BT).sum())
        count, changed = count + int(real_BT.sum()), changed + int(wrong_BT.sum())
        losses_BT = torch.nn.functional.binary_cross_entropy_with_logits(odds_BT, wrong_BT.float(), reduction="none")
        nats += float((losses_BT * real_BT).sum())
    metrics = {"replaced_token_accuracy": told / count, "majority_accuracy": max(changed, count - changed) / count}
    figures = {"tokens": count, "loss": nats / count, "perplexity": None, "bits_per_byte": None, "metrics": metrics}
    return {"what": f"{RATE:.0%} of the tokens swapped for others of the same text", "all": figures, "sources": {}}
