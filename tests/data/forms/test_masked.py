"""Hidden tokens: how many, which, and what is shown in their place."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nextword.core.errors import DataError, SettingsError
from nextword.data.form import Row
from nextword.data.forms.masked import ELECTRA, Hider, Masked
from nextword.data.labelled import IGNORED
from nextword.data.marks import Joints, Marks

FIRST, LAST = 10, 100  # the ids of text
PValue = Callable[..., float]

Rows = Callable[..., list[Row]]


def test_a_row_is_framed_and_15_percent_are_hidden(marks: Marks, rows: Rows) -> None:
    form = Masked(marks, Hider(marks))
    made = rows(form.room(42), 8)
    batch = form(made, 42)
    assert batch.ids_BT.shape == (8, 42) and batch.mask_BT is None and batch.segments_BT is None
    assert batch.ids_BT[:, 0].eq(marks.cls).all() and batch.ids_BT[:, -1].eq(marks.sep).all()
    assert ((batch.labels_BT != IGNORED).sum(1) == 6).all()  # 15 % of 40
    text = np.stack([row.pieces[0] for row in made])
    inner, labels = batch.ids_BT[:, 1:-1].numpy(), batch.labels_BT[:, 1:-1].numpy()
    assert (np.where(labels == IGNORED, inner, labels) == text).all(), "labels and what is shown give the text back"
    assert batch.tokens == 8 * 42 and batch.labels == 48


def test_80_percent_masked_10_random_10_unchanged(marks: Marks, p_value: PValue, rows: Rows) -> None:
    form = Masked(marks, Hider(marks))
    batch = form(rows(400, 300), 402)
    chosen = (batch.labels_BT != IGNORED).numpy()
    shown, wanted = batch.ids_BT.numpy()[chosen], batch.labels_BT.numpy()[chosen]
    masked = int((shown == marks.mask).sum())
    same = int((shown == wanted).sum())
    random = shown[(shown != marks.mask) & (shown != wanted)]
    count, ordinary = len(shown), LAST - FIRST
    expected = np.array([0.8, 0.1 * (1 - 1 / ordinary), 0.1 + 0.1 / ordinary]) * count
    assert p_value([masked, len(random), same], expected) > 0.001
    assert random.min() >= FIRST and random.max() < LAST
    assert p_value(np.bincount(random - FIRST, minlength=ordinary)) > 0.001, "random tokens are uniform"
    places = np.bincount(np.nonzero(chosen)[1], minlength=402)[1:-1]
    assert p_value(places) > 0.001, "every position is chosen alike"


def test_the_generator_of_electra_sees_masks_or_the_truth(marks: Marks, p_value: PValue, rows: Rows) -> None:
    form = Masked(marks, Hider(marks, shown=ELECTRA), noise=True)
    batch = form(rows(400, 300), 402)
    chosen_BT = batch.labels_BT != IGNORED
    shown, wanted = batch.ids_BT[chosen_BT], batch.labels_BT[chosen_BT]
    masked = shown == marks.mask
    assert (shown[~masked] == wanted[~masked]).all()
    assert p_value([int(masked.sum()), int((~masked).sum())], np.array([0.85, 0.15]) * len(shown)) > 0.001
    assert batch.noise_BT is not None and batch.noise_BT.min() >= 0 and batch.noise_BT.max() < 1
    real_BT = batch.noise_BT[:, :300]
    assert len(real_BT.unique()) == real_BT.numel()


@settings(max_examples=60, deadline=None)
@given(
    ids=st.lists(st.integers(0, 134), min_size=1, max_size=60),
    rate=st.sampled_from([0.01, 0.15, 0.5, 0.9]),
    seed=st.integers(0, 9),
)
def test_special_tokens_are_never_hidden_nor_put_in(marks: Marks, ids: list[int], rate: float, seed: int) -> None:
    row = np.array(ids)
    hide = Hider(marks, rate)
    ordinary = (row >= FIRST) & (row < LAST)
    if not ordinary.any():
        with pytest.raises(DataError, match="all padding"):
            hide(row, np.random.default_rng(seed))
        return
    shown, labels = hide(row, np.random.default_rng(seed))
    chosen = labels != IGNORED
    assert (row[~ordinary] == shown[~ordinary]).all() and not chosen[~ordinary].any()
    assert chosen.sum() == max(1, round(rate * ordinary.sum()))
    assert (labels[chosen] == row[chosen]).all() and (shown[~chosen] == row[~chosen]).all()
    put_in = shown[chosen]
    assert ((put_in == marks.mask) | ((put_in >= FIRST) & (put_in < LAST))).all()
    again = hide(row, np.random.default_rng(seed))
    assert (again[0] == shown).all() and (again[1] == labels).all()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.booleans(), min_size=2, max_size=60), st.integers(0, 9))
def test_whole_words_are_hidden_whole(marks: Marks, goes_on: list[bool], seed: int) -> None:
    left, right = np.ones(marks.vocab_size, bool), np.zeros(marks.vocab_size, bool)
    right[50:LAST] = True  # these ids go on with the word before them
    ids = np.random.default_rng(seed).integers(FIRST, 50, len(goes_on)) + 50 * np.array(goes_on)
    ids = np.minimum(ids, LAST - 1)
    joints = Joints(left, right)
    _, labels = Hider(marks, 0.3, joints=joints)(ids, np.random.default_rng(seed))
    chosen, words = labels != IGNORED, joints.words(ids)
    for word in range(words[-1] + 1):
        assert len(set(chosen[words == word].tolist())) == 1, "all of a word or nothing of it"
    largest = np.bincount(words).max()
    assert 1 <= chosen.sum() <= max(round(0.3 * len(ids)), largest)


def test_masks_follow_from_seed_and_place_alone(marks: Marks, rows: Rows) -> None:
    form = Masked(marks, Hider(marks))
    made = rows(30, 6)
    whole, parts = form(made, 32), [form(made[i : i + 2], 32) for i in (0, 2, 4)]
    for number, part in enumerate(parts):
        assert part.ids_BT.equal(whole.ids_BT[2 * number : 2 * number + 2])
    moved = [Row(row.pieces, (0, 1, row.key[2]), row.spans) for row in made]
    assert not form(moved, 32).ids_BT.equal(whole.ids_BT), "the next epoch hides other tokens"


def test_a_document_brings_its_own_end(marks: Marks, rows: Rows) -> None:
    form = Masked(marks, Hider(marks))
    document = np.array([20, 21, 22, marks.sep])
    assert form.wrapped(document).tolist() == [marks.cls, 20, 21, 22, marks.sep]
    assert form.wrapped(document[:-1]).tolist() == [marks.cls, 20, 21, 22, marks.sep]
    batch = form([Row((document,), (0, 0, 0), ((0, 4),))], 8)
    assert batch.mask_BT.tolist() == [[True] * 5 + [False] * 3] and batch.ids_BT[0, 5:].tolist() == [marks.pad] * 3


def test_bad_input(marks: Marks) -> None:
    with pytest.raises(SettingsError, match=r"no room for text beside \[CLS\] and \[SEP\]"):
        Masked(marks, Hider(marks)).room(2)
    with pytest.raises(SettingsError, match=r"needs a mask token.*nextword tokenizer train --for bert"):
        Hider(Marks(marks.vocab_size))
    with pytest.raises(SettingsError, match="begin and end a text"):
        Masked(Marks(marks.vocab_size, mask=3), Hider(marks))
