"""Go on with a given text: the prefix is read, and only what follows it is predicted.

Loss = - mean over t behind the prefix of log p(w_t | prefix, text before t). An encoder-decoder reads the prefix with
its encoder; a decoder reads it from left to right like the rest. (Liu et al., 2018; Raffel et al., 2020, 3.2.)
"""

import torch
from torch import nn

from nextword.data.forms.prefix import Prefix, SourcePrefix
from nextword.data.marks import Marks
from nextword.objectives.base import Part
from nextword.objectives.masked import Accuracy
from nextword.objectives.settings import ObjectiveSettings
from nextword.tokenizers.base import Tokenizer

KINDS = frozenset({"decoder", "encoder-decoder"})


def make(settings: ObjectiveSettings, tokenizer: Tokenizer, model: nn.Module, seed: int) -> Accuracy:
    """By the model's kind."""
    marks = Marks.of(tokenizer)
    form = SourcePrefix(marks) if model.kind == "encoder-decoder" else Prefix()
    return Accuracy("prefix", KINDS, form, torch.from_numpy(marks.hides()))


PART = Part(KINDS, frozenset(), make)
