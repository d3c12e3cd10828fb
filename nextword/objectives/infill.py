"""Predict the next token, in text whose middle has often been moved behind the rest: a decoder learns to fill gaps.

Loss = - mean over t of log p(w_{t+1} | w_1 .. w_t) of the rows that `data/forms/infill.py` makes. (Bavarian et al.,
"Efficient Training of Language Models to Fill in the Middle", 2022.)
"""

import torch
from torch import nn

from nextword.data.forms.infill import RATE, Infill
from nextword.data.marks import Marks
from nextword.objectives.base import Part
from nextword.objectives.masked import Accuracy
from nextword.objectives.settings import ObjectiveSettings
from nextword.tokenizers.base import Tokenizer

KINDS = frozenset({"decoder"})


def make(settings: ObjectiveSettings, tokenizer: Tokenizer, model: nn.Module, seed: int) -> Accuracy:
    """With the share of gaps that the settings name."""
    marks = Marks.of(tokenizer)
    form = Infill(marks, RATE if settings.gap_rate is None else settings.gap_rate)
    return Accuracy("infill", KINDS, form, torch.from_numpy(marks.hides()))


PART = Part(KINDS, frozenset({"gap_rate"}), make)
