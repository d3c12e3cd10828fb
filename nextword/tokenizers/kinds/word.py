r"""Words: a run of letters and digits is a token, a run of other signs is one, and what was not seen is <unk>.

The pattern is `\w+|[^\w\s]+`. White space is not kept: decoding puts one space between tokens. A word that is misspelt,
inflected or new becomes <unk>, which is why subwords were invented.
"""

from collections.abc import Iterable

import tokenizers
from tokenizers import models, pre_tokenizers, trainers

from nextword.tokenizers.kind import END, UNKNOWN, Kind, normalizer, too_large
from nextword.tokenizers.settings import TokenizerSettings

SPECIAL = (END, UNKNOWN)
ALL_WORDS = 2**31 - 1


def train(settings: TokenizerSettings, texts: Iterable[str]) -> tokenizers.Tokenizer:
    """The words of `texts`, most frequent first, ties in alphabetical order."""
    inner = tokenizers.Tokenizer(models.WordLevel(unk_token=UNKNOWN))
    inner.normalizer = normalizer(settings)
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    trainer = trainers.WordLevelTrainer(
        vocab_size=settings.vocab_size or ALL_WORDS,
        min_frequency=settings.min_frequency or 1,
        special_tokens=list(SPECIAL),
        show_progress=False,
    )
    inner.train_from_iterator(texts, trainer)
    if settings.vocab_size is not None and inner.get_vocab_size() < settings.vocab_size:
        raise too_large(settings, settings.vocab_size, inner.get_vocab_size())
    return inner


KIND = Kind(train, lossless="no", honours=frozenset({"vocab_size", "min_frequency"}))
