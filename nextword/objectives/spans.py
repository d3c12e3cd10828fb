"""Write what has been taken out of a text: the objective of T5.

Loss = - mean over the target of log p(target_t | source with sentinels, target before t); `data/forms/spans.py` says
how source and target are made. Everything is then one task, text to text. (Raffel et al., 2020.)

Metric: how many tokens of the target are the likeliest given those before, sentinels and ends left out on both sides,
beside the share of the most frequent one.
"""

import torch
from torch import nn

from nextword.data.forms.spans import MEAN, RATE, Spans
from nextword.data.marks import Marks
from nextword.objectives.base import Part
from nextword.objectives.masked import Accuracy
from nextword.objectives.settings import ObjectiveSettings
from nextword.tokenizers.base import Tokenizer

KINDS = frozenset({"encoder-decoder"})


def make(settings: ObjectiveSettings, tokenizer: Tokenizer, model: nn.Module, seed: int) -> Accuracy:
    """For windows or whole documents."""
    marks = Marks.of(tokenizer)
    rate = RATE if settings.mask_rate is None else settings.mask_rate
    form = Spans(marks, rate, MEAN if settings.span_mean is None else settings.span_mean, settings.packed)
    return Accuracy("spans", KINDS, form, torch.from_numpy(marks.hides()))


PART = Part(KINDS, frozenset({"packing", "mask_rate", "span_mean"}), make)
