"""Predict the next token: the objective of every causal language model, from Shannon's n-grams to Llama.

Loss = - sum over t of log p(w_{t+1} | w_1 .. w_t): the labels are the ids shifted by one. A row of T + 1 ids gives T
predictions; one whose label is padding does not count.
"""

import torch
from torch import nn

from nextword.data.forms.causal import Causal
from nextword.data.labelled import IGNORED, Labelled, Source
from nextword.data.marks import Marks
from nextword.models.base import Batch
from nextword.objectives.base import LabelLoss, Part
from nextword.objectives.settings import ObjectiveSettings
from nextword.tokenizers.base import Tokenizer

KINDS = frozenset({"decoder"})


class NextToken(LabelLoss):
    """Cross-entropy of each token given those before it in its row (nats)."""

    def __init__(self, form: Causal | None = None) -> None:
        super().__init__("next_token", KINDS, form or Causal())


def shift(batch: Batch) -> Labelled:
    """Inputs (B, T) and labels (B, T) from rows of T + 1 ids; a masked label, and one of another document, is -100."""
    labels_BT, inputs = batch.ids_BT[:, 1:], slice(None, -1)
    if batch.mask_BT is not None:
        labels_BT = torch.where(batch.mask_BT[:, 1:], labels_BT, IGNORED)
    if batch.segments_BT is not None:
        labels_BT = torch.where(batch.segments_BT[:, 1:] == batch.segments_BT[:, :-1], labels_BT, IGNORED)
    others = (batch.mask_BT, batch.segments_BT, batch.types_BT)
    cut = (None if tensor is None else tensor[:, inputs] for tensor in others)
    source = batch.source and Source(batch.source.ids_BT, batch.source.mask_BT, batch.source.segments_BT)
    return Labelled(batch.ids_BT[:, inputs], labels_BT, *cut, source)


def make(settings: ObjectiveSettings, tokenizer: Tokenizer, model: nn.Module, seed: int) -> NextToken:
    """With whole documents as rows where the settings say so."""
    return NextToken(Causal(Marks.of(tokenizer), settings.packed))


PART = Part(KINDS, frozenset({"packing"}), make)
