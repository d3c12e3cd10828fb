"""Two sentences: the true successor in half of the rows, types, and room for three special tokens."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nextword.core.errors import DataError, SettingsError
from nextword.data.feed import Feed
from nextword.data.form import Row
from nextword.data.forms.masked import Hider
from nextword.data.forms.pairs import Pairs
from nextword.data.labelled import IGNORED
from nextword.data.marks import Marks
from nextword.data.stream import Place

FIRST, LAST = 10, 100  # the ids of text
Documents = Callable[..., object]

STOP = 99  # the full stop
ENDS = np.arange(135) == STOP  # by id


def form(marks: Marks) -> Pairs:
    return Pairs(marks, Hider(marks), ENDS)


def original(ids: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return np.where(labels == IGNORED, ids, labels)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(FIRST, LAST - 1), min_size=1, max_size=30),
    st.lists(st.integers(FIRST, LAST - 1), min_size=1, max_size=30),
    st.integers(0, 30),
    st.integers(5, 40),
)
def test_the_second_follows_or_comes_from_the_other(
    marks: Marks, first: list[int], other: list[int], key: int, length: int
) -> None:
    pieces = (np.array(first), np.array(other))
    batch = form(marks)([Row(pieces, (0, 0, key), ((0, len(first)), (0, len(other))))], length)
    real = batch.mask_BT[0].numpy() if batch.mask_BT is not None else np.ones(batch.ids_BT.shape[1], bool)
    ids = original(batch.ids_BT[0].numpy(), batch.labels_BT[0].numpy())[real]
    types = batch.types_BT[0].numpy()[real]
    assert ids[0] == marks.cls and ids[-1] == marks.sep and (ids == marks.sep).sum() == 2 and len(ids) <= length
    a, b = ids[types == 0][1:-1].tolist(), ids[types == 1][:-1].tolist()
    assert ids[types == 0][-1] == marks.sep
    source = other if batch.random_B[0] else first
    joined, text = "".join(map(chr, b)), "".join(map(chr, source))
    assert joined in text, "the second is a stretch of its document"
    if not batch.random_B[0] and len(first) <= length - 3:
        assert a + b == first, "nothing is lost where all has room"
    if not batch.random_B[0]:
        assert "".join(map(chr, a + b)) in "".join(map(chr, first)), "the second follows the first"


def test_half_follow_and_cuts_are_at_ends_of_sentences(marks: Marks, documents: Documents) -> None:
    text = documents([20] * 200)
    text.ids[5::20] = STOP
    text.ids[12::20] = STOP
    batch = Feed(text, form(marks), 32, Place(0)).take(400)
    random = batch.random_B.numpy()
    assert 165 < random.sum() < 235  # 3.5 standard deviations
    whole = original(batch.ids_BT.numpy(), batch.labels_BT.numpy())
    for row in range(400):
        first = whole[row][(batch.types_BT[row] == 0).numpy() & batch.mask_BT[row].numpy()]
        assert first[-2] == STOP and first[-1] == marks.sep


def test_the_other_is_another_document_and_all_goes_on_from_a_place(marks: Marks, documents: Documents) -> None:
    text = documents([9, 30, 4, 12, 7, 15, 22] * 3)
    feed = Feed(text, form(marks), 16, Place(3))
    before = [feed.take(3) for _ in range(9)]
    ends = text.documents[:, 0]
    for batch in before:
        spans = np.array(batch.spans).reshape(-1, 2, 2)
        numbers = np.searchsorted(ends, spans[:, :, 0], side="right")
        assert (numbers[:, 0] != numbers[:, 1]).all()
    again = Feed(text, form(marks), 16, Place(3))
    for expected in before[:4]:
        assert again.take(3).ids_BT.equal(expected.ids_BT)
    resumed = Feed(text, form(marks), 16, again.place)
    for expected in before[4:]:
        found = resumed.take(3)
        assert found.ids_BT.equal(expected.ids_BT) and found.random_B.equal(expected.random_B)


def test_bad_input(marks: Marks, documents: Documents) -> None:
    with pytest.raises(SettingsError, match="no room for two sentences"):
        form(marks).room(4)
    with pytest.raises(DataError, match="a second document"):
        Feed(documents([50]), form(marks), 16, Place(0))
    with pytest.raises(DataError, match="every document is empty"):
        Feed(documents([1, 1, 1]), form(marks), 16, Place(0))
    with pytest.raises(DataError, match="all padding"):
        form(marks)([Row((np.array([marks.sep]), np.array([30, 31])), (0, 0, 0), ((0, 1), (1, 3)))], 16)
