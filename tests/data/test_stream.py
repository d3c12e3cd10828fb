"""Windows cover the tokens, come in a seeded order, and go on from a saved place to the sample."""

import itertools
import json

import numpy as np
import pytest
import torch

from nextword.core.errors import DataError
from nextword.data.stream import Place, check_length, documents_of, windows


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
    stream = windows(row, length=7, rows=1, seed=5)
    given = [batch.ids_BT for batch, place in itertools.takewhile(lambda item: item[1].epoch == 0, stream)]
    inputs = torch.cat(given)[:, :-1].flatten().sort().values
    # one window is left: its place already says epoch 1
    assert len(inputs.unique()) == len(inputs) >= 100 - 3 * 7
    for ids in given:
        assert torch.equal(ids[0, 1:], ids[0, :-1] + 1)


def test_order_depends_on_seed_and_epoch(row: Row) -> None:
    def starts(seed: int, batches: int = 30) -> list[tuple[int, ...]]:
        return [batch.starts for batch, _ in itertools.islice(windows(row, 7, 2, seed), batches)]

    assert starts(1) == starts(1) != starts(2)
    first, second = starts(1, 6), starts(1, 13)[7:]
    assert first != second


@pytest.mark.parametrize("taken", [1, 4, 9, 23])
def test_goes_on_to_the_sample_from_a_saved_place(row: Row, taken: int) -> None:
    stream = windows(row, length=7, rows=3, seed=11)
    for _ in range(taken):
        _, place = next(stream)
    state = json.loads(json.dumps(place.to_json()))
    resumed = windows(row, length=7, rows=3, seed=11, place=Place(**state))
    for (expected, after), (found, place) in zip(itertools.islice(stream, 12), resumed, strict=False):
        assert torch.equal(expected.ids_BT, found.ids_BT) and after == place


def test_offset_differs_from_epoch_to_epoch(row: Row) -> None:
    offsets = {batch.starts[0] % 10 for batch, _ in itertools.islice(windows(row, 10, 1, 0), 90)}
    assert len(offsets) > 3


def test_a_text_of_exactly_one_window(row: Row) -> None:
    stream = windows(row, length=99, rows=2, seed=0)
    batch, _ = next(stream)
    assert batch.ids_BT.shape == (2, 100) and batch.starts == (0, 0)


def test_too_short_a_text_is_an_error_with_the_numbers(row: Row) -> None:
    with pytest.raises(DataError, match=r"has 100 tokens.* needs 257 .*at most 99"):
        check_length(row, 256)
    with pytest.raises(DataError, match=r"has 1 tokens.* give more text$"):
        check_length(Row(np.arange(1), [1]), 256)


def test_documents_of_a_batch(row: Row) -> None:
    batch, _ = next(windows(row, length=5, rows=1, seed=0))
    for start, expected in ((0, "0 (a)"), (26, "0 (a), 1 (b), 2 (a)"), (30, "1 (b), 2 (a)"), (94, "3 (b)")):
        placed = type(batch)(batch.ids_BT, (start,))
        assert documents_of(row, placed) == f"documents {expected}"
