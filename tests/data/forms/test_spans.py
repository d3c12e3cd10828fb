"""Span corruption: filling the sentinels of the source from the target gives the text back."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nextword.core.errors import DataError, SettingsError
from nextword.data.form import Row
from nextword.data.forms.spans import Spans, parts, restored
from nextword.data.labelled import IGNORED
from nextword.data.marks import Marks

FIRST, LAST = 10, 100  # the ids of text
PValue = Callable[..., float]


@settings(max_examples=80, deadline=None)
@given(
    ids=st.lists(st.integers(FIRST, LAST - 1), min_size=2, max_size=80),
    rate=st.sampled_from([0.05, 0.15, 0.5]),
    mean=st.sampled_from([1.0, 3.0, 10.0]),
    seed=st.integers(0, 5),
)
def test_every_token_is_accounted_for(marks: Marks, ids: list[int], rate: float, mean: float, seed: int) -> None:
    form = Spans(marks, rate, mean)
    text = np.array(ids)
    if form.taken(len(text))[1] > len(marks.sentinels):
        return
    source, target = form.corrupt(text, np.random.default_rng(seed))
    assert (len(source), len(target)) == form.lengths(len(text)) and source[-1] == target[-1] == marks.sep
    assert restored(source[:-1], target[:-1], marks.sentinels).tolist() == ids
    used = [number for number in source if number in marks.sentinels]
    assert used == list(marks.sentinels[: len(used)]) == [number for number in target if number in marks.sentinels]
    again = form.corrupt(text, np.random.default_rng(seed))
    assert again[0].tolist() == source.tolist() and again[1].tolist() == target.tolist()


def test_the_example_of_the_paper(marks: Marks) -> None:
    form = Spans(marks)
    assert form.taken(512) == (77, 26) and form.lengths(512) == (462, 104)
    # 568 tokens of text fill 512 positions, as T5's own code computes
    assert form.room(512) == 568 and form.lengths(568) == (512, 114)


def test_rows_are_shifted_and_padded_to_one_shape(marks: Marks) -> None:
    form = Spans(marks)
    text = np.random.default_rng(0).integers(FIRST, LAST, (3, form.room(60)))
    rows = [Row((ids,), (0, 0, number), ((0, len(ids)),)) for number, ids in enumerate(text)]
    batch = form(rows, 60)
    assert batch.source is not None and batch.source.ids_BT.shape == (3, 60) and batch.source.mask_BT is None
    assert batch.ids_BT[:, 0].eq(marks.pad).all() and batch.ids_BT[:, 1:].equal(batch.labels_BT[:, :-1])
    assert batch.mask_BT is None and (batch.labels_BT != IGNORED).all()
    for row in range(3):
        found = restored(batch.source.ids_BT[row, :-1].numpy(), batch.labels_BT[row, :-1].numpy(), marks.sentinels)
        assert found.tolist() == text[row].tolist()


def test_packed_documents_are_corrupted_each_by_itself(marks: Marks) -> None:
    form = Spans(marks, packed=True)
    pieces = tuple(np.append(np.random.default_rng(size).integers(FIRST, LAST, size), marks.sep) for size in (12, 7, 9))
    batch = form([Row(pieces, (0, 0, 0), ((0, 13), (13, 21), (21, 31)))], 40)
    assert batch.source is not None and batch.source.segments_BT is not None and batch.segments_BT is not None
    for number, piece in enumerate(pieces):
        source = batch.source.ids_BT[batch.source.segments_BT == number].numpy()
        target = batch.labels_BT[batch.segments_BT == number].numpy()
        assert batch.ids_BT[batch.segments_BT == number][0] == marks.pad
        assert restored(source[:-1], target[:-1], marks.sentinels).tolist() == piece[:-1].tolist()


def test_what_is_taken_out_is_spread_evenly(marks: Marks, p_value: PValue) -> None:
    form = Spans(marks)
    where = np.zeros(20)
    for seed in range(3000):
        source, _ = form.corrupt(np.arange(FIRST, FIRST + 20), np.random.default_rng(seed))
        where[np.setdiff1d(np.arange(20), source - FIRST)] += 1
    assert where.sum() == 3000 * 3
    assert p_value(where[2:-2:3]) > 0.001, "one span of three, anywhere alike"
    assert p_value([where[0], where[2] - where[1], where[-1]]) > 0.001, "at the ends too"


def test_parts_are_all_sums_alike(p_value: PValue) -> None:
    counts: dict[tuple[int, ...], int] = {}
    for seed in range(3000):
        found = tuple(parts(6, 3, np.random.default_rng(seed)).tolist())
        assert sum(found) == 6 and min(found) >= 1
        counts[found] = counts.get(found, 0) + 1
    assert len(counts) == 10 and p_value(list(counts.values())) > 0.001  # 5 choose 2


def test_bad_input(marks: Marks) -> None:
    form = Spans(marks)
    with pytest.raises(SettingsError, match="no room for text beside a sentinel"):
        form.room(2)
    with pytest.raises(SettingsError, match="needs .* sentinels and the tokenizer has 32"):
        form.room(1000)
    with pytest.raises(SettingsError, match=r"needs sentinels.*nextword tokenizer train --for t5"):
        Spans(Marks(marks.vocab_size, pad=0, eos=1))
    with pytest.raises(SettingsError, match="needs a padding token"):
        Spans(Marks(marks.vocab_size, eos=1, sentinels=(3,)))
    with pytest.raises(DataError, match="cannot lose a part"):
        form.corrupt(np.array([20]), np.random.default_rng(0))
