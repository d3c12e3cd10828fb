"""WordPiece: a word is its longest known beginning, then the longest known continuation, and so on.

Continuations are written ##like ##this. The vocabulary grows by merging neighbours as byte-pair encoding does, but from
characters; a word with an unknown character becomes <unk> as a whole. White space is not kept: decoding puts one space
between words. (BERT's published vocabularies came from a likelihood criterion whose code was never released; merging
by frequency is what everyone who trains a WordPiece vocabulary does.)

Schuster and Nakajima, Japanese and Korean Voice Search, 2012; Devlin et al., BERT, 2019.
"""

from collections.abc import Iterable

import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

from nextword.tokenizers.kind import END, SUBWORD_VOCAB_SIZE, UNKNOWN, Kind, normalizer, too_large, too_small
from nextword.tokenizers.settings import TokenizerSettings

PREFIX = "##"
SPECIAL = (END, UNKNOWN)


def train(settings: TokenizerSettings, texts: Iterable[str]) -> tokenizers.Tokenizer:
    """The pieces that `texts` ask for.

    The library's trainer numbers the characters in the order in which it meets them, which differs from run to run, and
    breaks ties by these numbers. So a first pass only collects the characters, and the second gets them sorted.
    """
    wanted = settings.vocab_size or SUBWORD_VOCAB_SIZE
    characters = learn(settings, texts, 1, [])
    if len(characters) + len(SPECIAL) > wanted:
        smallest = len(characters) + len(SPECIAL)
        raise too_small(settings, wanted, smallest, f"the characters of this text and {' and '.join(SPECIAL)}")
    vocabulary = learn(settings, texts, wanted, [*SPECIAL, *sorted(characters)])
    if len(vocabulary) < wanted:
        raise too_large(settings, wanted, len(vocabulary))
    inner = tokenizers.Tokenizer(models.WordPiece(vocabulary, unk_token=UNKNOWN))
    inner.normalizer = normalizer(settings)
    inner.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    inner.decoder = decoders.WordPiece(prefix=PREFIX)
    inner.add_special_tokens(list(SPECIAL))
    return inner


def learn(settings: TokenizerSettings, texts: Iterable[str], size: int, first: list[str]) -> dict[str, int]:
    """A vocabulary of at most `size` pieces (but all characters) that begins with the tokens `first`."""
    inner = tokenizers.Tokenizer(models.WordPiece(unk_token=UNKNOWN))
    inner.normalizer = normalizer(settings)
    inner.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(
        vocab_size=size,
        min_frequency=settings.min_frequency or 2,
        special_tokens=first,
        show_progress=False,
        continuing_subword_prefix=PREFIX,
    )
    inner.train_from_iterator(texts, trainer)
    vocabulary: dict[str, int] = inner.get_vocab()
    return vocabulary


KIND = Kind(train, lossless="no", honours=frozenset({"vocab_size", "min_frequency"}), passes=2)
