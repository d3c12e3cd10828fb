"""What a model is trained for: an objective turns rows with labels into a loss, given as sums with their counts.

Loss = sum over its terms of weight * total / count. Because totals and counts add up over parts of a batch, a batch can
be computed in parts (gradient accumulation, data parallelism) with exactly the gradient of the whole, also when the
parts hold different numbers of predictions. `counts` says the whole batch's counts beforehand, without running the
model, so that each part's sum is divided once, by the whole.

An objective comes with its form, which says how text becomes such rows.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from nextword.data.form import Form
from nextword.data.labelled import Labelled
from nextword.models.base import BALANCE, Balanced, Batch, LanguageModel
from nextword.nn.loss import IGNORED, Loss, Term
from nextword.objectives.settings import ObjectiveSettings
from nextword.tokenizers.base import Tokenizer

Sums = dict[str, Tensor]  # what is added up over batches, by name


class Objective(Protocol):
    """A training objective.

    kinds: of the models that it fits. additive: False where it needs the whole batch at once; such a batch is never
    split. form: how text becomes rows. extra: a module that is trained beside the model and not saved with it, or None.
    names: of its terms.
    """

    kinds: frozenset[str]
    additive: bool
    form: Form
    extra: nn.Module | None
    names: tuple[str, ...]

    def counts(self, rows: Labelled) -> dict[str, int]:
        """How many predictions each term of the loss has in these rows."""
        ...

    def __call__(self, model: LanguageModel, rows: Labelled) -> Loss:
        """The loss of the rows, or of a part of them: every term as a sum and its count."""
        ...

    def look(self, model: LanguageModel, rows: Labelled) -> tuple[Loss, Sums]:
        """The loss, and sums out of which `figures` makes the metrics that stand beside it. No gradients."""
        ...

    def figures(self, sums: Mapping[str, Tensor]) -> dict[str, float]:
        """The metrics by name, from sums over any number of batches; each beside what is reached by always guessing."""
        ...


@dataclass(frozen=True)
class Part:
    """An objective as a file of this package offers it, as `PART`.

    kinds: of models. honours: the settings that take effect. make: settings, tokenizer, the model to be trained
    and a seed -> the objective; raises SettingsError where the tokenizer lacks a special token.
    """

    kinds: frozenset[str]
    honours: frozenset[str]
    make: Callable[[ObjectiveSettings, Tokenizer, nn.Module, int], Objective]


def inputs(rows: Labelled) -> Batch:
    """What the model reads of the rows."""
    source = None
    if rows.source is not None:
        source = Batch(rows.source.ids_BT, rows.source.mask_BT, rows.source.segments_BT)
    return Batch(rows.ids_BT, rows.mask_BT, rows.segments_BT, rows.types_BT, source)


class LabelLoss:
    """Cross-entropy of the labels (nats), wherever they stand: the one term of most objectives.

    In training a model may add terms of its own, which have no part in how well it predicts.
    """

    additive = True
    extra: nn.Module | None = None

    def __init__(self, name: str, kinds: frozenset[str], form: Form) -> None:
        self.name, self.kinds, self.form = name, kinds, form
        self.names = (name,)

    def counts(self, rows: Labelled) -> dict[str, int]:
        """The labelled positions; the tokens read, by which a model's own term counts."""
        return {self.name: rows.labels, BALANCE: rows.tokens}

    def __call__(self, model: LanguageModel, rows: Labelled) -> Loss:
        """The summed negative log-likelihood of the labels, and what the model adds."""
        own: Loss = {}
        if isinstance(model, Balanced):
            logp_BT, own = model.judged(inputs(rows), rows.labels_BT)
        else:
            logp_BT = model.score(inputs(rows), rows.labels_BT)
        return {self.name: Term(-logp_BT.sum(), (rows.labels_BT != IGNORED).sum())} | own

    def look(self, model: LanguageModel, rows: Labelled) -> tuple[Loss, Sums]:
        """The loss alone."""
        logp_BT = model.score(inputs(rows), rows.labels_BT).double()
        return {self.name: Term(-logp_BT.sum(), (rows.labels_BT != IGNORED).sum())}, {}

    def figures(self, sums: Mapping[str, Tensor]) -> dict[str, float]:
        """None."""
        return {}


def mean(loss: Mapping[str, Term]) -> float:
    """The loss as one number: sum of weight · total / count over its terms."""
    return sum(term.weight * float(term.total.detach()) / max(int(term.count), 1) for term in loss.values())


def add(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> Sums:
    """Sums over both."""
    return {name: value + first[name] if name in first else value for name, value in second.items()}


def add_terms(first: Loss, second: Loss) -> Loss:
    """Terms over both."""
    return {
        name: Term(term.total + first[name].total, term.count + first[name].count, term.weight)
        if name in first
        else term
        for name, term in second.items()
    }


SCORED_AT_ONCE = 1024  # positions whose scores over the vocabulary are held together


@torch.no_grad()
def best(model: LanguageModel, hidden_ND: Tensor, special_V: Tensor) -> Tensor:
    """The likeliest token at each position among those that are not special, (N,)."""
    parts = hidden_ND.split(SCORED_AT_ONCE)
    scores = (model.logits(part_ND) for part_ND in parts)
    return torch.cat(
        [scores_NV[:, : len(special_V)].masked_fill(special_V, -torch.inf).argmax(-1) for scores_NV in scores]
    )
