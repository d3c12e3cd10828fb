"""Find the hidden tokens from both sides: the objective of BERT and of most encoders since.

Loss = - mean over the chosen positions of log p(w_t | the row with its chosen tokens hidden); `data/forms/masked.py`
says how they are chosen. (Devlin et al., "BERT: Pre-training of Deep Bidirectional Transformers", 2019.)

Metric: how many of them the likeliest token is right for, beside the share of the most frequent token among them, which
is what a model reaches that knows how often words occur and nothing else.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from nextword.data.form import Form
from nextword.data.forms.masked import BERT, RATE, Hider, Masked
from nextword.data.labelled import Labelled
from nextword.data.marks import Joints, Marks
from nextword.models.base import LanguageModel
from nextword.models.transformer import Transformer
from nextword.nn.loss import IGNORED, Loss
from nextword.objectives.base import LabelLoss, Part, Sums, best, inputs
from nextword.objectives.settings import ObjectiveSettings
from nextword.tokenizers.base import Tokenizer

KINDS = frozenset({"encoder"})
HONOURS = frozenset({"packing", "mask_rate", "whole_words"})


class Accuracy(LabelLoss):
    """Cross-entropy of labels, with the share of them that the likeliest token is right for.

    special: by id, which labels do not count for it (a sentinel is no feat). They are no guesses either, since the most
    frequent token, which the share is compared with, is not one of them.
    """

    def __init__(self, name: str, kinds: frozenset[str], form: Form, special: Tensor) -> None:
        super().__init__(name, kinds, form)
        self.special_V = special

    def look(self, model: Transformer, rows: Labelled) -> tuple[Loss, Sums]:
        """The loss; how many labels there are, how many are found, and how often each token is one."""
        loss, _ = super().look(model, rows)
        return loss, guesses(model, model.hidden(inputs(rows)).hidden_BTD, rows.labels_BT, self.special_V)

    def figures(self, sums: Mapping[str, Tensor]) -> dict[str, float]:
        """The accuracy, and that of the most frequent token."""
        return accuracy(self.name, sums)


def guesses(model: LanguageModel, hidden_BTD: Tensor, labels_BT: Tensor, special_V: Tensor) -> Sums:
    """Of the labels that are not special: how many, how many of them are the likeliest token, how often each is one."""
    special_V = special_V.to(labels_BT.device)
    kept_BT = (labels_BT != IGNORED) & ~special_V[labels_BT.clamp(min=0)]
    labels_M = labels_BT[kept_BT]
    right = (best(model, hidden_BTD[kept_BT], special_V) == labels_M).sum()
    return {
        "labels": torch.tensor(len(labels_M)),
        "right": right.cpu(),
        "frequency_V": torch.bincount(labels_M, minlength=len(special_V)).cpu(),
    }


def accuracy(name: str, sums: Mapping[str, Tensor]) -> dict[str, float]:
    """`NAME_accuracy` and `unigram_accuracy` from what `guesses` has counted."""
    count = max(int(sums["labels"]), 1)
    return {
        f"{name}_accuracy": int(sums["right"]) / count,
        "unigram_accuracy": int(sums["frequency_V"].max()) / count,
    }


def hider(settings: ObjectiveSettings, tokenizer: Tokenizer, shown: tuple[float, float, float] = BERT) -> Hider:
    """What hides tokens, as the settings say."""
    rate = RATE if settings.mask_rate is None else settings.mask_rate
    return Hider(Marks.of(tokenizer), rate, shown, Joints.of(tokenizer) if settings.whole_words else None)


def make(settings: ObjectiveSettings, tokenizer: Tokenizer, model: nn.Module, seed: int) -> Accuracy:
    """For windows or whole documents."""
    marks = Marks.of(tokenizer)
    form = Masked(marks, hider(settings, tokenizer), settings.packed)
    return Accuracy("masked", KINDS, form, torch.from_numpy(marks.hides()))


PART = Part(KINDS, HONOURS, make)
