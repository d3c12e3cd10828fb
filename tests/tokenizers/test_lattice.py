"""Expected counts and best paths against all ways to cut a text, written out."""

import itertools
import math
from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nextword.tokenizers.lattice import Lattice, Substrings

TEXTS = st.lists(st.text("ab▁𝄞", min_size=1, max_size=6), min_size=1, max_size=4, unique=True)


def ways(text: str, pieces: set[str]) -> list[list[str]]:
    """All ways to cut a text into pieces."""
    found = []
    for cuts in itertools.product([False, True], repeat=len(text) - 1):
        places = [0, *(place + 1 for place, cut in enumerate(cuts) if cut), len(text)]
        parts = [text[first:last] for first, last in itertools.pairwise(places)]
        if pieces.issuperset(parts):
            found.append(parts)
    return found


@given(TEXTS, st.data())
def test_substrings_are_those_that_occur_often_enough(texts: list[str], data: st.DataObject) -> None:
    counts = data.draw(st.lists(st.integers(0, 3), min_size=len(texts), max_size=len(texts)))
    found = Substrings.of(texts, counts, 3, 2)
    wanted: Counter[str] = Counter()
    for text, count in zip(texts, counts, strict=True):
        for first, length in itertools.product(range(len(text)), (1, 2, 3)):
            if first + length <= len(text):
                wanted[text[first : first + length]] += count
    kept = {piece: count for piece, count in wanted.items() if len(piece) == 1 or count >= 2}
    assert dict(zip(found.strings, found.weights, strict=True)) == kept
    places = {(t, s, found.strings[p]) for t, s, p in zip(found.texts, found.starts, found.pieces, strict=True)}
    assert places == {
        (number, first, piece)
        for number, text in enumerate(texts) for piece in kept for first in range(len(text))
        if text.startswith(piece, first)
    }  # fmt: skip


@settings(max_examples=50)
@given(TEXTS, st.data())
def test_sums_over_all_paths(texts: list[str], data: st.DataObject) -> None:
    found = Substrings.of(texts, [2] * len(texts), 4, 2)
    size = len(found.strings)
    logp = np.array(data.draw(st.lists(st.floats(-9, 0), min_size=size, max_size=size)))
    counts = np.arange(1.0, len(texts) + 1)
    widths = np.array([len(piece) for piece in found.strings])
    alive = (widths == 1) | np.array(data.draw(st.lists(st.booleans(), min_size=size, max_size=size)))
    lengths = np.array([len(text) for text in texts])
    lattice = Lattice(lengths, found.texts, found.starts, found.pieces, widths).only(alive)
    score = {piece: logp[number] for number, piece in enumerate(found.strings) if alive[number]}
    wanted: dict[str, float] = defaultdict(float)
    best = []
    for text, count in zip(texts, counts, strict=True):
        paths = [(path, math.exp(sum(score[piece] for piece in path))) for path in ways(text, set(score))]
        total = sum(p for _, p in paths)
        best.append(math.log(max(p for _, p in paths)))
        for path, p in paths:
            for piece in path:
                wanted[piece] += count * p / total
    expected = dict(zip(found.strings, lattice.expected(logp, counts), strict=True))
    assert expected == pytest.approx({piece: wanted[piece] for piece in found.strings}, rel=1e-9, abs=1e-12)
    assert lattice.best(logp, np.zeros(len(lattice.pieces), bool)) == pytest.approx(best, abs=1e-9)
