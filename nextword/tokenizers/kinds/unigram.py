"""Unigram: every piece has a probability, and a text is cut where the product of its pieces is largest.

Training starts from many substrings, fits their probabilities by expectation maximisation, and takes away the pieces
whose loss costs the least likelihood until the wanted number is left. A space is written ▁ and belongs to the word
after it; no space is added at the start of a text, so that decoding gives back what was read.

Kudo, Subword Regularization: Improving Neural Network Translation Models with Multiple Subword Candidates, 2018.
"""

import json
from bisect import bisect_left
from collections.abc import Iterable, Iterator

import tokenizers
from tokenizers import Regex, decoders, models, pre_tokenizers, trainers

from nextword.tokenizers.kind import END, SUBWORD_VOCAB_SIZE, UNKNOWN, Kind, normalizer, too_large, too_small
from nextword.tokenizers.settings import TokenizerSettings

LINES = r"\n+"
STEP = 1e-4  # the trainer gives the characters that it must add this much less each, in an order that is not fixed
SLACK = 1e-8  # how exact that is
DIGITS = 6  # of a score that are kept: the last ones depend on the order of sums
Pieces = list[tuple[str, float]]


def train(settings: TokenizerSettings, texts: Iterable[str]) -> tokenizers.Tokenizer:
    """The pieces of `texts` with their log-probabilities."""
    wanted = settings.vocab_size or SUBWORD_VOCAB_SIZE
    inner = empty(settings, models.Unigram())
    trainer = trainers.UnigramTrainer(
        vocab_size=wanted - 1, unk_token=UNKNOWN, special_tokens=[UNKNOWN], show_progress=False
    )
    characters: set[str] = set()
    try:
        inner.train_from_iterator(noting(texts, characters), trainer)
    except Exception as error:  # the library raises bare Exception
        if "not large enough" not in str(error):
            raise
        smallest = len(characters) + 2
        raise too_small(settings, wanted, smallest, "the characters of this text and two special tokens") from None
    pieces = fitted(in_order(json.loads(inner.to_str())["model"]["vocab"]), wanted - 1)
    if len(pieces) + 1 < wanted:
        raise too_large(settings, wanted, len(pieces) + 1)
    whole = empty(settings, models.Unigram(pieces, unk_id=0, byte_fallback=False))
    whole.add_special_tokens([UNKNOWN, END])  # END stays out of the model: as a piece it would match text
    return whole


def empty(settings: TokenizerSettings, model: models.Unigram) -> tokenizers.Tokenizer:
    """A tokenizer of this kind around a model."""
    inner = tokenizers.Tokenizer(model)
    inner.normalizer = normalizer(settings)
    spaces = pre_tokenizers.Metaspace(prepend_scheme="never")
    inner.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(LINES), "isolated"), spaces])
    inner.decoder = decoders.Metaspace(prepend_scheme="never")
    return inner


def noting(texts: Iterable[str], characters: set[str]) -> Iterator[str]:
    """Passes `texts` on and notes their characters."""
    for text in texts:
        characters.update(text)
        yield text


def in_order(found: Pieces) -> Pieces:
    """The pieces in an order, and with scores, that are the same from run to run: <unk>, then the likeliest first.

    The set of pieces is the same each time. The last digits of the scores are not, and so they are rounded; nor are the
    scores of the characters that expectation maximisation had dropped: they are added again, each `STEP` below the one
    before, in the order of a hash table. These get the same scores in the order of their numbers.
    """
    scores = {piece: score for piece, score in found if piece != UNKNOWN}
    single = sorted((score, piece) for piece, score in scores.items() if len(piece) == 1)
    added: set[str] = set()
    for score, piece in single:
        above = bisect_left(single, (score + STEP - SLACK, ""))
        if above < len(single) and single[above][0] < score + STEP + SLACK:
            added |= {piece, single[above][1]}
    ladder = sorted((scores[piece] for piece in added), reverse=True)
    scores.update(zip(sorted(added), ladder, strict=True))
    rounded = [(piece, round(score, DIGITS)) for piece, score in scores.items()]
    return [(UNKNOWN, 0.0), *sorted(rounded, key=lambda item: (-item[1], item[0]))]


def fitted(pieces: Pieces, wanted: int) -> Pieces:
    """At most `wanted` pieces: near the alphabet's size the trainer leaves a few too many, and the least likely go."""
    longer = [item for item in pieces[1:] if len(item[0]) > 1]
    gone = set(longer[len(longer) - max(len(pieces) - wanted, 0) :])
    return [item for item in pieces if item not in gone]


KIND = Kind(train, lossless="its own characters", honours=frozenset({"vocab_size"}))
