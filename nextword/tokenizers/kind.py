"""What a kind of tokenizer is: a way to learn a vocabulary, and a promise about what decoding gives back.

Each file of `nextword/tokenizers/kinds` is one kind and holds one `KIND`. Whatever the kind, the result is a tokenizer
of the `tokenizers` library, so that its file is the `tokenizer.json` which every other tool reads.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal, cast

import tokenizers
from tokenizers import normalizers

from nextword.core.errors import DataError, SettingsError
from nextword.core.registry import part
from nextword.tokenizers import names, purpose
from nextword.tokenizers.settings import KINDS, TokenizerSettings

END, UNKNOWN = names.END, names.UNKNOWN
SUBWORD_VOCAB_SIZE = 4096  # of bpe, wordpiece and unigram when none is asked for

Lossless = Literal["any text", "its own characters", "no"]


@dataclass(frozen=True)
class Kind:
    """One kind of tokenizer.

    train: settings and texts -> the trained `tokenizers.Tokenizer`, END among its special tokens.
    lossless: for which texts decode(encode(text)) == text.
    honours: the settings that take effect besides `kind` and `lowercase`.
    passes: how often `train` reads the texts.
    """

    train: Callable[[TokenizerSettings, Iterable[str]], tokenizers.Tokenizer]
    lossless: Lossless
    honours: frozenset[str]
    passes: int = 1


def find(name: str) -> Kind:
    """The kind of that name; SettingsError with the nearest name when there is none."""
    return cast(Kind, part(KINDS, name, "KIND"))


def normalizer(settings: TokenizerSettings) -> normalizers.Normalizer | None:
    """What is done to the text before it is cut: nothing, or lower-casing."""
    return normalizers.Lowercase() if settings.lowercase else None


def count_characters(settings: TokenizerSettings, texts: Iterable[str]) -> Counter[str]:
    """How often each character occurs, lower-cased first where the settings say so."""
    counts: Counter[str] = Counter()
    rule = normalizer(settings)
    for text in texts:
        counts.update(text if rule is None else rule.normalize_str(text))
    return counts


def most_frequent(counts: Counter[str], least: int) -> list[str]:
    """What occurs at least `least` times, most frequent first, ties in the order of the characters' numbers."""
    kept = [item for item in counts.items() if item[1] >= least]
    return [name for name, _ in sorted(kept, key=lambda item: (-item[1], item[0]))]


def too_large(settings: TokenizerSettings, wanted: int, largest: int) -> DataError:
    """The error for a vocabulary that the corpus does not fill."""
    least, more = settings.min_frequency, len(purpose.added(settings))
    wanted, largest = wanted + more, largest + more
    seen = f" that occur at least {least} times" if least and least > 1 else ""
    return DataError(
        f"a {settings.kind} vocabulary of {wanted} tokens is larger than this corpus allows: it gives {largest}{seen}; "
        f"use --tokenizer.vocab-size={largest} or less, or give more text"
    )


def too_small(settings: TokenizerSettings, wanted: int, smallest: int, why: str) -> SettingsError:
    """The error for a vocabulary that does not hold what it must."""
    more = len(purpose.added(settings))
    wanted, smallest = wanted + more, smallest + more
    why += f" and {more} special tokens" if more else ""
    return SettingsError(
        f"a {settings.kind} vocabulary of {wanted} tokens is too small: {why} need {smallest}; "
        f"use --tokenizer.vocab-size={smallest} or more"
    )
