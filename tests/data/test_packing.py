"""Packed rows: every document whole and once, rows full, the order resumed to the sample."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nextword.core.errors import DataError
from nextword.data import documents
from nextword.data.packing import Packed, best_fit
from nextword.data.stream import Place


class Text:
    """Ids that count up, in documents of the given lengths."""

    def __init__(self, lengths: list[int]) -> None:
        ends = np.cumsum(lengths)
        self.ids = np.arange(int(ends[-1]))
        self.documents = np.stack([ends, ends, ends, 0 * ends], 1)
        self.sources = ("made up",)

    def __len__(self) -> int:
        return len(self.ids)

    def read(self, start: int, stop: int) -> np.ndarray:
        return self.ids[start:stop]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(1, 20), min_size=1, max_size=60), st.integers(20, 40))
def test_best_fit_places_every_item_once_within_capacity(costs: list[int], capacity: int) -> None:
    rows = best_fit(costs, capacity)
    assert sorted(item for row in rows for item in row) == list(range(len(costs)))
    assert all(sum(costs[item] for item in row) <= capacity for row in rows)
    # no two rows could have been one: the later one's first item would have found room in the earlier
    for number, row in enumerate(rows):
        before = [sum(costs[i] for i in other if i < row[0]) for other in rows[:number]]
        assert all(capacity - taken < costs[row[0]] for taken in before)


def test_rows_are_nearly_full() -> None:
    costs = np.random.default_rng(0).integers(5, 60, 4000).tolist()
    assert sum(costs) / (len(best_fit(costs, 128)) * 128) > 0.97


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1, 50), min_size=1, max_size=40), st.integers(4, 30), st.integers(0, 5))
def test_an_epoch_has_every_token_once(lengths: list[int], room: int, seed: int) -> None:
    text = Text(lengths)
    try:
        source = Packed(text, room, room, lambda tokens: tokens, Place(seed))
    except DataError:
        assert max(lengths) < documents.SHORTEST
        return
    seen: list[int] = []
    while source.place.epoch == 0:
        row = source.take(1)[0]
        if source.place.epoch == 0:
            seen += np.concatenate(row.pieces).tolist()
    # pieces of a single token are the ends of documents, no text
    alone = sum((length % room if length > room else length) == 1 for length in lengths)
    assert len(seen) == len(set(seen)) == len(text) - alone


@pytest.mark.parametrize("taken", [1, 7, 40])
def test_goes_on_to_the_sample(taken: int) -> None:
    text = Text(np.random.default_rng(1).integers(2, 40, 60).tolist())
    source = Packed(text, 30, 32, lambda tokens: tokens + 2, Place(7))
    source.take(taken)
    place = Place(**json.loads(json.dumps(source.place.to_json())))
    again = Packed(text, 30, 32, lambda tokens: tokens + 2, place)
    for expected, found in zip(source.take(60), again.take(60), strict=True):
        assert expected.key == found.key and expected.spans == found.spans
    assert source.place == again.place


def test_another_epoch_packs_other_rows_and_fixed_rows_stay() -> None:
    text = Text([5, 9, 14, 3, 8, 6, 11] * 5)
    source = Packed(text, 16, 16, lambda tokens: tokens, Place(0))
    first = [row.spans for row in source.take(12)]
    second = [row.spans for row in Packed(text, 16, 16, lambda tokens: tokens, Place(0, 1)).take(12)]
    assert first != second
    fixed = [row.spans for row in source.fixed(6)]
    assert fixed == [row.spans for row in Packed(text, 16, 16, lambda tokens: tokens, Place(9, 4, 2)).fixed(6)]
    assert 4 <= len(fixed) <= 6


def test_a_long_document_is_cut_and_empty_ones_are_left_out() -> None:
    pieces = documents.pieces_of(Text([1, 10, 1, 3]), 4)
    assert pieces.tolist() == [[1, 5, 1], [5, 9, 1], [9, 11, 1], [12, 15, 3]]
    with pytest.raises(DataError, match="every document is empty"):
        documents.pieces_of(Text([1, 1]), 4)
