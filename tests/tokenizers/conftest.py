"""One trained tokenizer of every kind, learnt from English prose that every Python carries."""

from pydoc_data import topics

import pytest

from nextword.core.registry import names
from nextword.tokenizers.base import Tokenizer
from nextword.tokenizers.settings import KINDS, TokenizerSettings
from nextword.tokenizers.train import train

KIND_NAMES = [name.replace("_", "-") for name in names(KINDS)]
SIZES = {"bpe": 600, "wordpiece": 600, "unigram": 400, "character-ngram": 500}


@pytest.fixture(scope="session")
def corpus() -> list[str]:
    """Some 60 KB of prose in paragraphs."""
    prose = "\n\n".join(text for _, text in sorted(topics.topics.items()))
    return prose[:60_000].split("\n\n")


@pytest.fixture(scope="session")
def tokenizers_by_kind(corpus: list[str]) -> dict[str, Tokenizer]:
    """Every kind, trained."""
    return {kind: train(TokenizerSettings(kind=kind, vocab_size=SIZES.get(kind)), corpus) for kind in KIND_NAMES}


@pytest.fixture(params=KIND_NAMES)
def tokenizer(request: pytest.FixtureRequest, tokenizers_by_kind: dict[str, Tokenizer]) -> Tokenizer:
    """One kind after the other."""
    return tokenizers_by_kind[request.param]
