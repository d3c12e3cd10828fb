"""Characters: every character that the training text contains is a token; any other becomes <unk>.

The smallest vocabulary that a person would think of, and the one of the first experiments with a small corpus (65
characters in the tiny Shakespeare). A vocabulary size keeps the most frequent characters only.

Karpathy, The Unreasonable Effectiveness of Recurrent Neural Networks, 2015.
"""

from collections.abc import Iterable

import tokenizers
from tokenizers import Regex, decoders, models, pre_tokenizers

from nextword.tokenizers.kind import END, UNKNOWN, Kind, count_characters, most_frequent, normalizer, too_large
from nextword.tokenizers.settings import TokenizerSettings

ONE_CHARACTER = r"[\s\S]"
SPECIAL = (END, UNKNOWN)


def train(settings: TokenizerSettings, texts: Iterable[str]) -> tokenizers.Tokenizer:
    """The characters of `texts`, in the order of their numbers after the two special tokens."""
    kept = most_frequent(count_characters(settings, texts), settings.min_frequency or 1)
    if settings.vocab_size is not None:
        if settings.vocab_size > len(kept) + len(SPECIAL):
            raise too_large(settings, settings.vocab_size, len(kept) + len(SPECIAL))
        kept = kept[: settings.vocab_size - len(SPECIAL)]
    vocabulary = {token: rank for rank, token in enumerate([*SPECIAL, *sorted(kept)])}
    inner = tokenizers.Tokenizer(models.WordLevel(vocab=vocabulary, unk_token=UNKNOWN))
    inner.normalizer = normalizer(settings)
    inner.pre_tokenizer = pre_tokenizers.Split(Regex(ONE_CHARACTER), "isolated")
    inner.decoder = decoders.Fuse()
    inner.add_special_tokens(list(SPECIAL))
    return inner


KIND = Kind(train, lossless="its own characters", honours=frozenset({"vocab_size", "min_frequency"}))
