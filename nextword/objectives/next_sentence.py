"""Does the second sentence follow the first? Asked together with hidden tokens, as BERT was trained.

Loss = masked loss + next-sentence loss, each the mean over its own predictions:
next-sentence = - mean over rows of log p(follows or random | hidden state of [CLS]).

(Devlin et al., "BERT", 2019.) Metrics: the masked accuracy beside that of the most frequent token, and how many rows
are told right; always saying the same reaches a half.
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nextword.core.errors import SettingsError
from nextword.data.forms.pairs import Pairs
from nextword.data.labelled import Labelled
from nextword.data.marks import Marks, sentence_ends
from nextword.models.scores import head_logprobs
from nextword.models.transformer import Transformer
from nextword.nn.loss import IGNORED, Loss, Term
from nextword.objectives.base import Part, Sums, inputs
from nextword.objectives.masked import KINDS, accuracy, guesses, hider
from nextword.objectives.settings import ObjectiveSettings
from nextword.tokenizers.base import Tokenizer

HEAD = "next_sentence"


class NextSentence:
    """Two terms of equal weight: masked, and next_sentence."""

    kinds = KINDS
    additive = True
    names = ("masked", "next_sentence")
    extra: nn.Module | None = None

    def __init__(self, form: Pairs, special_V: Tensor) -> None:
        self.form, self.special_V = form, special_V

    def counts(self, rows: Labelled) -> dict[str, int]:
        """Hidden tokens, and rows."""
        return {"masked": rows.labels, "next_sentence": rows.rows}

    def __call__(self, model: Transformer, rows: Labelled) -> Loss:
        """Both, out of one reading."""
        return self.loss(model, rows, model.hidden(inputs(rows)).hidden_BTD)[0]

    def loss(self, model: Transformer, rows: Labelled, hidden_BTD: Tensor) -> tuple[Loss, Tensor]:
        """The terms, and the scores (B, 2) of the next-sentence head."""
        logp_BT = head_logprobs(model.head, hidden_BTD, rows.labels_BT, model.output_VD)
        scores_B2 = model.heads[HEAD](hidden_BTD, inputs(rows))
        terms = {
            "masked": Term(-logp_BT.sum(), (rows.labels_BT != IGNORED).sum()),
            "next_sentence": Term(
                F.cross_entropy(scores_B2, rows.random_B, reduction="sum"), torch.tensor(len(scores_B2))
            ),
        }
        return terms, scores_B2

    def look(self, model: Transformer, rows: Labelled) -> tuple[Loss, Sums]:
        """The loss, and what both accuracies are made of."""
        hidden_BTD = model.hidden(inputs(rows)).hidden_BTD
        loss, scores_B2 = self.loss(model, rows, hidden_BTD)
        sums = guesses(model, hidden_BTD, rows.labels_BT, self.special_V)
        told = (scores_B2.argmax(-1) == rows.random_B).sum().cpu()
        return loss, sums | {"pairs": torch.tensor(len(scores_B2)), "told": told, "random": rows.random_B.sum().cpu()}

    def figures(self, sums: Mapping[str, Tensor]) -> dict[str, float]:
        """Masked accuracy with its baseline, next-sentence accuracy with the share of the larger class."""
        pairs, random = max(int(sums["pairs"]), 1), int(sums["random"])
        return accuracy("masked", sums) | {
            "next_sentence_accuracy": int(sums["told"]) / pairs,
            "majority_accuracy": max(random, pairs - random) / pairs,
        }


def make(settings: ObjectiveSettings, tokenizer: Tokenizer, model: nn.Module, seed: int) -> NextSentence:
    """SettingsError for a model without a next-sentence head."""
    if HEAD not in model.heads:
        raise SettingsError("this model has no next-sentence head: choose --model bert with model.next_sentence=true")
    marks = Marks.of(tokenizer)
    form = Pairs(marks, hider(settings, tokenizer), sentence_ends(tokenizer))
    return NextSentence(form, torch.from_numpy(marks.hides()))


PART = Part(KINDS, frozenset({"mask_rate", "whole_words"}), make)
