"""Windows cover the tokens, come in a seeded order, and go on from a saved place to the sample."""

import json

import numpy as np
import pytest

from nextword.core.errors import DataError
from nextword.data.stream import Place, Windows, check_length, documents_of


class Row:
    def __init__(self, ids: np.ndarray, ends: list[int]) -> None:
        self.ids, self.sources = ids, ("a", "b")
        self.documents = np.array([[end, 0, 0, number % 2] for number, end in enumerate(ends)])

    def __len__(self) -> int:
        return len(self.ids)

    def read(self, start: int, stop: int) -> np.ndarray:
        assert 0 <= start <= stop <= len(self.ids)
        return self.ids[start:stop]


@pytest.fixture
def row() -> Row:
    return Row(np.arange(100, dtype=np.uint16), [30, 31, 80, 100])


def test_an_epoch_covers_the_tokens_once(row: Row) -> None:
    source = Windows(row, 7, Place(5))
    given = []
    while source.place.epoch == 0:
        given += [window.pieces[0] for window in source.take(1)]
    inputs = np.concatenate([ids[:-1] for ids in given])
    assert len(set(inputs.tolist())) == len(inputs) >= 100 - 3 * 7
    for ids in given:
        assert ids[1:].tolist() == (ids[:-1] + 1).tolist() and len(ids) == 8


@pytest.mark.parametrize("extra", [0, 1])
def test_order_depends_on_seed_and_epoch(row: Row, extra: int) -> None:
    def starts(seed: int, rows: int = 60) -> list[int]:
        return [window.spans[0][0] for window in Windows(row, 7, Place(seed), extra).take(rows)]

    assert starts(1) == starts(1) != starts(2)
    assert starts(1, 12) != starts(1, 26)[14:]


@pytest.mark.parametrize("taken", [1, 4, 9, 23])
def test_goes_on_to_the_sample_from_a_saved_place(row: Row, taken: int) -> None:
    source = Windows(row, 7, Place(11))
    for rows in range(taken):
        source.take(1 + rows % 3)
    state = json.loads(json.dumps(source.place.to_json()))
    resumed = Windows(row, 7, Place(**state))
    for _ in range(12):
        for expected, found in zip(source.take(3), resumed.take(3), strict=True):
            assert expected.key == found.key and expected.pieces[0].tolist() == found.pieces[0].tolist()
        assert source.place == resumed.place


def test_offset_differs_from_epoch_to_epoch(row: Row) -> None:
    assert len({window.spans[0][0] % 10 for window in Windows(row, 10, Place(0)).take(90)}) > 3


def test_a_text_of_exactly_one_window(row: Row) -> None:
    for extra, length in ((1, 99), (0, 100)):
        windows = Windows(row, length, Place(0), extra).take(2)
        assert [window.spans for window in windows] == [((0, 100),)] * 2
        assert windows[0].key != windows[1].key, "another epoch draws other masks"


def test_too_short_a_text_is_an_error_with_the_numbers(row: Row) -> None:
    with pytest.raises(DataError, match=r"has 100 tokens.* needs 257 .*at most 99"):
        check_length(row, 256)
    with pytest.raises(DataError, match=r"has 1 tokens.* give more text$"):
        check_length(Row(np.arange(1), [1]), 256)


def test_fixed_windows_are_spread_and_always_the_same(row: Row) -> None:
    first, second = Windows(row, 7, Place(1)), Windows(row, 7, Place(2, 3, 4))
    assert [window.spans for window in first.fixed(3)] == [window.spans for window in second.fixed(3)]
    assert [window.spans[0] for window in first.fixed(3)] == [(0, 8), (46, 54), (92, 100)]
    assert len(first.fixed(1000)) == 14


def test_documents_of_a_batch(row: Row) -> None:
    for start, expected in ((0, "0 (a)"), (26, "0 (a), 1 (b), 2 (a)"), (30, "1 (b), 2 (a)"), (94, "3 (b)")):
        assert documents_of(row, ((start, start + 6),)) == f"documents {expected}"
    assert documents_of(row, ((0, 6), (94, 100))) == "documents 0 (a), 3 (b)"
