"""Bytes: a token is a byte of the UTF-8 text, its id the byte's value; <|endoftext|> is 256.

Nothing is learnt, every string and every sequence of bytes has an encoding, and sequences are long: about one token a
letter in English, three in Chinese.

Xue et al., ByT5: Towards a Token-Free Future with Pre-trained Byte-to-Byte Models, 2022.
"""

from collections.abc import Iterable

import tokenizers
from tokenizers import decoders, models, pre_tokenizers

from nextword.tokenizers.bytelevel import CHARACTER_OF
from nextword.tokenizers.kind import END, Kind, normalizer
from nextword.tokenizers.settings import TokenizerSettings


def train(settings: TokenizerSettings, texts: Iterable[str]) -> tokenizers.Tokenizer:
    """The same tokenizer whatever `texts` are; they are read all the same, so that an empty corpus is noticed."""
    for _ in texts:
        pass
    vocabulary = {CHARACTER_OF[byte]: byte for byte in range(256)}
    inner = tokenizers.Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    inner.normalizer = normalizer(settings)
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    inner.decoder = decoders.ByteLevel()
    inner.add_special_tokens([END])
    return inner


KIND = Kind(train, lossless="any text", honours=frozenset())
