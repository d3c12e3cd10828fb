"""A small world of ids with all special tokens, a tokenizer for each purpose, and models of each kind."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from nextword.models.create import create
from nextword.models.settings import ModelSettings
from nextword.tokenizers.base import Tokenizer
from nextword.tokenizers.settings import TokenizerSettings
from nextword.tokenizers.train import train

TEXTS = [
    "The cat sat on the mat. It was a lazy cat.",
    "A dog ran to the mill. The dog was glad! Then it slept.",
    "My friend has a boat. He rows it down the river. The river is long.",
    "She paints doors. One is red? Two are blue.",
] * 6
KINDS = {"gpt": "bpe", "infill": "bpe", "bert": "wordpiece", "t5": "unigram"}
SIZES = {"llama": {"width": 16, "depth": 1, "heads": 2}, "gpt2": {"width": 16, "depth": 1, "heads": 2},
         "bert": {"width": 16, "depth": 2, "heads": 2}, "electra": {"width": 16, "depth": 2, "heads": 2},
         "t5": {"width": 16, "depth": 1, "heads": 2, "head_width": 8},
         "bart": {"width": 16, "depth": 1, "heads": 2}, "marian": {"width": 16, "depth": 1, "heads": 2},
         "lstm": {"width": 16}, "ngram": {}}  # fmt: skip


@pytest.fixture(scope="session")
def tokenizer() -> Callable[[str], Tokenizer]:
    """A small tokenizer for a purpose."""
    made: dict[str, Tokenizer] = {}

    def make(purpose: str) -> Tokenizer:
        if purpose not in made:
            size = {"gpt": 290, "infill": 290, "bert": 100, "t5": None}[purpose]
            settings = TokenizerSettings(
                kind="character" if purpose == "t5" else KINDS[purpose], vocab_size=size,
                min_frequency=1, purpose=purpose,
            )  # fmt: skip
            made[purpose] = train(settings, TEXTS)
        return made[purpose]

    return make


@pytest.fixture
def model() -> Callable[..., nn.Module]:
    """A tiny model of a family, every tensor drawn anew."""

    def make(family: str, vocab_size: int, **sizes: object) -> nn.Module:
        made = create(ModelSettings(family=family, **{**SIZES[family], **sizes}), vocab_size, 0, pad_id=0, eos_id=1)
        draw = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for weight in made.parameters():
                weight.copy_(torch.randn(weight.shape, generator=draw) * 0.2 + (weight.dim() == 1))
        return made.eval()

    return make


class Text:
    """Encoded texts as tokens in memory."""

    def __init__(self, tokenizer: Tokenizer, texts: list[str]) -> None:
        encoded = [[*tokenizer.encode(text), tokenizer.eos_id] for text in texts]
        self.ids = np.concatenate(encoded)
        ends = np.cumsum([len(ids) for ids in encoded])
        self.documents = np.stack([ends, ends, ends, 0 * ends], 1)
        self.sources = ("made up",)

    def __len__(self) -> int:
        return len(self.ids)

    def read(self, start: int, stop: int) -> np.ndarray:
        return self.ids[start:stop]


@pytest.fixture(scope="session")
def text() -> Callable[[Tokenizer], Text]:
    """The texts as tokens of a tokenizer."""
    return lambda tokenizer: Text(tokenizer, TEXTS)
