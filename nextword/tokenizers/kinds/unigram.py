r"""Unigram: every piece has a probability, and a text is cut where the product of its pieces is largest.

Training starts from many substrings, fits their probabilities by expectation maximisation, and takes away the pieces
whose loss costs the least likelihood until the wanted number is left. A space is written ▁ and belongs to the word
after it; no space is added at the start of a text, so that decoding gives back what was read.

The `tokenizers` library's trainer takes its candidates from the list of *different* words, as SentencePiece's does: a
word that is no part of another one is no candidate, and of substrings it begins with the count in that list, of
characters with the count in the text. Where few words make up a text, its commonest words then fall apart into letters
(▁·is, ▁·a). Here substrings count as often as they occur.

Kudo, Subword Regularization: Improving Neural Network Translation Models with Multiple Subword Candidates, 2018.
"""

import re
from collections import Counter
from collections.abc import Iterable

import numpy as np
import tokenizers
from tokenizers import Regex, decoders, models, pre_tokenizers

from nextword.core.errors import DataError
from nextword.tokenizers.kind import END, SUBWORD_VOCAB_SIZE, UNKNOWN, Kind, normalizer, too_large, too_small
from nextword.tokenizers.lattice import Array, Lattice, Substrings
from nextword.tokenizers.settings import TokenizerSettings

LINES = r"\n+"
SPACE = "▁"
WORD = re.compile(rf"{LINES}|[ {SPACE}]?[^ {SPACE}\n]+|[ {SPACE}]")  # what the pre-tokenizer below cuts
MOST_WORDS = 100_000  # different ones that are learnt from: the most frequent
CUT = 64  # longer words are learnt from in parts of so many characters
LONGEST = 16  # characters of a piece
LEAST = 2  # times that a piece occurs
SEEDS = 10_000  # pieces to begin with, but SEEDS_EACH times the wanted if that is more
SEEDS_EACH = 10
SHRINK = 0.75  # of the pieces stay in each round
ROUNDS = 2  # of expectation maximisation between
UNUSED = 0.5  # a piece expected to be used less often goes; the score of a character that is not used
DIGITS = 6  # of a score that are kept
Pieces = list[tuple[str, float]]


def train(settings: TokenizerSettings, texts: Iterable[str]) -> tokenizers.Tokenizer:
    """The pieces of `texts` with their log-probabilities."""
    wanted = settings.vocab_size or SUBWORD_VOCAB_SIZE
    words = count_words(settings, texts)
    if not words:
        raise DataError("there is no text to learn pieces from")
    characters = set().union(*words)
    if wanted < len(characters) + 2:
        why = "the characters of this text and two special tokens"
        raise too_small(settings, wanted, len(characters) + 2, why)
    pieces = fit(words, wanted - 2)
    if len(pieces) + 2 < wanted:
        raise too_large(settings, wanted, len(pieces) + 2)
    inner = tokenizers.Tokenizer(models.Unigram([(UNKNOWN, 0.0), *pieces], unk_id=0, byte_fallback=False))
    inner.normalizer = normalizer(settings)
    spaces = pre_tokenizers.Metaspace(prepend_scheme="never")
    inner.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(LINES), "isolated"), spaces])
    inner.decoder = decoders.Metaspace(prepend_scheme="never")
    inner.add_special_tokens([UNKNOWN, END])  # END stays out of the model: as a piece it would match text
    return inner


def count_words(settings: TokenizerSettings, texts: Iterable[str]) -> Counter[str]:
    """How often each word occurs, spaces written as they are in pieces."""
    counts: Counter[str] = Counter()
    rule = normalizer(settings)
    for text in texts:
        counts.update(WORD.findall(text if rule is None else rule.normalize_str(text)))
    words: Counter[str] = Counter()
    for word, count in counts.items():
        words[word.replace(" ", SPACE)] += count
    return words


def fit(words: Counter[str], wanted: int) -> Pieces:
    """At most `wanted` pieces, every character among them, with their log-probabilities, the likeliest first."""
    parts: Counter[str] = Counter(dict.fromkeys(sorted(set().union(*words)), 0))  # each character, however rare
    for word, count in sorted(words.items(), key=lambda item: (-item[1], item[0]))[:MOST_WORDS]:
        for first in range(0, len(word), CUT):
            parts[word[first : first + CUT]] += count
    texts, counts = list(parts), list(parts.values())
    found = Substrings.of(texts, counts, LONGEST, LEAST)
    widths = np.array([len(piece) for piece in found.strings])
    single, size = widths == 1, max(SEEDS, SEEDS_EACH * wanted)
    alive = most(found.weights * widths, np.ones_like(single), single, size)
    own = np.flatnonzero(alive & ~single)  # pieces that can be cut otherwise: texts of their own
    both = Substrings.of(texts + [found.strings[one] for one in own], counts + [0] * len(own), LONGEST, LEAST)
    lengths = np.array([len(text) for text in texts])
    of_text = both.texts < len(texts)
    lattice = Lattice(lengths, both.texts[of_text], both.starts[of_text], both.pieces[of_text], widths).only(alive)
    of_piece = ~of_text
    others = Lattice(
        widths[own], both.texts[of_piece] - len(texts), both.starts[of_piece], both.pieces[of_piece], widths
    )
    times = np.array(counts, np.float64)
    logp = np.log(np.maximum(found.weights, UNUSED))
    logp -= np.log(np.exp(logp[alive]).sum())
    while True:
        for _ in range(ROUNDS):
            expected = np.where(alive, lattice.expected(logp, times), 0.0)
            if alive.sum() > wanted:
                alive &= single | (expected >= UNUSED)
            used = np.maximum(expected, UNUSED)
            logp = np.log(used / used[alive].sum())
            lattice = lattice.only(alive)
        if alive.sum() <= wanted:
            break
        others = others.only(alive)
        cost = np.zeros(len(alive))
        cost[own] = expected[own] * (logp[own] - others.best(logp, others.pieces == own[others.texts]))
        alive = most(cost, alive, single, max(wanted, int(SHRINK * alive.sum())))
        lattice = lattice.only(alive)
    scores = [(found.strings[one], round(float(logp[one]), DIGITS)) for one in np.flatnonzero(alive)]
    return sorted(scores, key=lambda item: (-item[1], item[0]))


def most(worth: Array, among: Array, always: Array, size: int) -> Array:
    """Which `size` of those `among` have the highest worth, ties to the first; all of `always` stay."""
    left = np.flatnonzero(among & ~always)
    order = left[np.argsort(-worth[left], kind="stable")]
    found = always.copy()
    found[order[: max(size - int(always.sum()), 0)]] = True
    return found


KIND = Kind(train, lossless="its own characters", honours=frozenset({"vocab_size"}))
