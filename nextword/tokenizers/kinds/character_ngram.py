"""Character n-grams: the text is cut into pieces of n characters, wherever words begin or end.

A piece that is not frequent enough to be a token falls apart into the longest pieces at its start that are, at worst
into its characters, so that only a character that training never saw is unknown (and takes its whole piece with it).
The simplest way to shorter sequences than characters give; the tokens are blind to words, which is what subwords mend.
"""

from collections import Counter
from collections.abc import Iterable

import tokenizers
from tokenizers import Regex, decoders, models, pre_tokenizers

from nextword.tokenizers.kind import (
    END,
    SUBWORD_VOCAB_SIZE,
    UNKNOWN,
    Kind,
    most_frequent,
    normalizer,
    too_large,
    too_small,
)
from nextword.tokenizers.settings import TokenizerSettings

SPECIAL = (END, UNKNOWN)
NGRAM = 3


def train(settings: TokenizerSettings, texts: Iterable[str]) -> tokenizers.Tokenizer:
    """All characters of `texts`, and the most frequent of their pieces of n characters."""
    width, rule = settings.ngram or NGRAM, normalizer(settings)
    characters: Counter[str] = Counter()
    pieces: Counter[str] = Counter()
    for text in texts:
        plain = text if rule is None else rule.normalize_str(text)
        characters.update(plain)
        pieces.update(plain[start : start + width] for start in range(0, len(plain), width))
    longer = [piece for piece in most_frequent(pieces, settings.min_frequency or 1) if len(piece) > 1]
    first = [*SPECIAL, *sorted(characters)]
    wanted = settings.vocab_size or min(SUBWORD_VOCAB_SIZE, len(first) + len(longer))
    if wanted < len(first):
        raise too_small(settings, wanted, len(first), f"the characters of this text and {' and '.join(SPECIAL)}")
    if wanted > len(first) + len(longer):
        raise too_large(settings, wanted, len(first) + len(longer))
    vocabulary = {token: rank for rank, token in enumerate([*first, *longer[: wanted - len(first)]])}
    inner = tokenizers.Tokenizer(models.WordPiece(vocabulary, unk_token=UNKNOWN, continuing_subword_prefix=""))
    inner.normalizer = rule
    inner.pre_tokenizer = pre_tokenizers.Split(Regex(rf"[\s\S]{{1,{width}}}"), "isolated")
    inner.decoder = decoders.Fuse()
    inner.add_special_tokens(list(SPECIAL))
    return inner


KIND = Kind(train, lossless="its own characters", honours=frozenset({"vocab_size", "min_frequency", "ngram"}))
