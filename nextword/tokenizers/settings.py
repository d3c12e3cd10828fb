"""The settings of a tokenizer that is to be trained: its kind and the size of its vocabulary."""

from dataclasses import dataclass
from typing import Annotated

from cyclopts import Parameter

from nextword.core.errors import SettingsError, nearest
from nextword.core.registry import names
from nextword.core.settings import in_range

KINDS = "nextword.tokenizers.kinds"
PURPOSE_NAMES = ("gpt", "infill", "bert", "t5")


@dataclass(frozen=True, kw_only=True)
class TokenizerSettings:
    """How to train a tokenizer; what a kind does not honour is refused."""

    kind: Annotated[str, Parameter(alias="--kind")] = "bpe"
    "bpe, wordpiece, unigram, word, character, character-ngram or byte"

    vocab_size: Annotated[int | None, Parameter(alias="--vocab-size")] = None
    "tokens in all, special ones included; without it 4,096 subwords, or every word or character seen, and special ones"

    min_frequency: int | None = None
    "how often a pair, word or character must occur to enter the vocabulary; without it 2 for bpe and wordpiece, else 1"

    ngram: int | None = None
    "characters in a piece of character-ngram; without it 3"

    purpose: Annotated[str | None, Parameter(alias="--for")] = None
    "what the model is to learn, which decides the special tokens: gpt (next token), infill, bert, t5; without it gpt"

    special: Annotated[tuple[str, ...], Parameter(alias="--special")] = ()
    "further special tokens, such as [MASK]"

    lowercase: bool = False
    "lower-case the text first (the tokenizer can then not give back what it read)"

    def __post_init__(self) -> None:
        if self.kind.replace("-", "_") not in names(KINDS):
            known = [name.replace("_", "-") for name in names(KINDS)]
            raise SettingsError(f"tokenizer.kind: no kind {self.kind!r}{nearest(self.kind, known)}")
        for name, value, least in (("vocab_size", self.vocab_size, 3), ("min_frequency", self.min_frequency, 1)):
            if value is not None:
                in_range(f"tokenizer.{name}", value, least, 2**31 - 1)
        if self.purpose is not None and self.purpose not in PURPOSE_NAMES:
            raise SettingsError(f"tokenizer.purpose: no {self.purpose!r}{nearest(self.purpose, PURPOSE_NAMES)}")
        if "" in self.special or len(set(self.special)) < len(self.special):
            raise SettingsError("tokenizer.special: each special token needs a name of its own")
        if self.ngram is not None:
            in_range("tokenizer.ngram", self.ngram, 2, 16)
