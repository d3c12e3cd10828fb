"""Byte-pair encoding on bytes: start from the 256 bytes, merge the most frequent neighbours, again and again.

The text is first cut into words by GPT-2's pattern (a word keeps the space before it), so that no token spans two
words. Every string has an encoding, since every byte has a token.

Sennrich et al., Neural Machine Translation of Rare Words with Subword Units, 2016; on bytes: Radford et al., 2019.
"""

from collections.abc import Iterable

import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

from nextword.tokenizers.bytelevel import BYTE_OF
from nextword.tokenizers.kind import END, SUBWORD_VOCAB_SIZE, Kind, normalizer, too_large, too_small
from nextword.tokenizers.settings import TokenizerSettings

SMALLEST = len(BYTE_OF) + 1


def train(settings: TokenizerSettings, texts: Iterable[str]) -> tokenizers.Tokenizer:
    """The merges that `texts` ask for; an error when they end before the vocabulary is full."""
    wanted = settings.vocab_size or SUBWORD_VOCAB_SIZE
    if wanted < SMALLEST:
        raise too_small(settings, wanted, SMALLEST, f"the 256 bytes and {END}")
    inner = tokenizers.Tokenizer(models.BPE())
    inner.normalizer = normalizer(settings)
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=wanted,
        min_frequency=settings.min_frequency or 2,
        initial_alphabet=sorted(BYTE_OF),
        special_tokens=[END],
        show_progress=False,
    )
    inner.train_from_iterator(texts, trainer)
    if inner.get_vocab_size() < wanted:
        raise too_large(settings, wanted, inner.get_vocab_size())
    return inner


KIND = Kind(train, lossless="any text", honours=frozenset({"vocab_size", "min_frequency"}))
