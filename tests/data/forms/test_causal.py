"""Next token, prefix and infilling: labels stand where they should, and no token is lost."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nextword.core.errors import SettingsError
from nextword.data.feed import Feed
from nextword.data.form import Row
from nextword.data.forms.causal import Causal
from nextword.data.forms.infill import Infill
from nextword.data.forms.prefix import Prefix, SourcePrefix
from nextword.data.labelled import IGNORED
from nextword.data.marks import Marks
from nextword.data.stream import Place

FIRST, LAST = 10, 100  # the ids of text
Documents = Callable[..., object]

SEP, PREFIX, SUFFIX, MIDDLE = 2, 132, 133, 134


def one(ids: list[int] | np.ndarray, key: int = 0) -> Row:
    return Row((np.array(ids),), (0, 0, key), ((0, len(ids)),))


def test_windows_are_shifted_by_one() -> None:
    batch = Causal()([one([10, 11, 12, 13]), one([20, 21, 22, 23])], 3)
    assert batch.ids_BT.tolist() == [[10, 11, 12], [20, 21, 22]]
    assert batch.labels_BT.tolist() == [[11, 12, 13], [21, 22, 23]]


def test_a_packed_document_is_predicted_from_its_beginning_to_its_end(marks: Marks) -> None:
    row = Row((np.array([30, 31, marks.sep]), np.array([40, marks.sep])), (0, 0, 0), ((0, 3), (3, 5)))
    batch = Causal(marks, packed=True)([row], 6)
    assert batch.ids_BT.tolist() == [[marks.bos, 30, 31, marks.bos, 40, marks.pad]]
    assert batch.labels_BT.tolist() == [[30, 31, marks.sep, 40, marks.sep, IGNORED]]
    assert batch.segments_BT.tolist() == [[0, 0, 0, 1, 1, -1]] and batch.mask_BT.tolist() == [[True] * 5 + [False]]


def test_a_prefix_is_read_and_not_predicted() -> None:
    rows = [one(np.arange(20, 31), key) for key in range(200)]
    batch = Prefix()(rows, 10)
    cuts = set()
    for labels in batch.labels_BT.tolist():
        given_ = labels.count(IGNORED)
        cuts.add(given_)
        assert labels == [IGNORED] * given_ + list(range(21 + given_, 31))
    assert cuts == set(range(10)), "every cut that leaves a token on both sides"


def test_an_encoder_reads_the_prefix(marks: Marks) -> None:
    rows = [one(np.arange(20, 29), key) for key in range(100)]
    batch = SourcePrefix(marks)(rows, 10)
    for row in range(100):
        source = [n for n in batch.source.ids_BT[row].tolist() if n != marks.pad]
        target = [n for n in batch.labels_BT[row].tolist() if n != IGNORED]
        assert source[-1] == target[-1] == marks.sep and source[:-1] + target[:-1] == list(range(20, 29))
        assert batch.ids_BT[row, 0] == marks.pad and batch.ids_BT[row, 1 : len(target)].tolist() == target[:-1]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(FIRST, LAST - 1) | st.just(SEP), min_size=8, max_size=60), st.integers(0, 20))
def test_infilling_loses_nothing_but_the_end(marks: Marks, ids: list[int], key: int) -> None:
    moved = Infill(marks, rate=0.7).moved(np.array(ids), np.random.default_rng(key)).tolist()
    assert len(moved) <= len(ids) and moved.count(PREFIX) == moved.count(SUFFIX) == moved.count(MIDDLE)
    texts = [one.tolist() for one in np.split(np.array(moved), np.flatnonzero(np.array(moved[:-1]) == marks.sep) + 1)]
    back = []
    for text in texts:
        if text[0] == PREFIX:
            end = [marks.sep] if text[-1] == marks.sep else []
            body = text[1 : len(text) - len(end)]
            suffix, middle = body.index(SUFFIX), body.index(MIDDLE)
            back += body[:suffix] + body[middle + 1 :] + body[suffix + 1 : middle] + end
        else:
            back += text
    # the last text of a row may be cut short, and then its gap with it; all before is as it was
    whole = [one.tolist() for one in np.split(np.array(ids), np.flatnonzero(np.array(ids[:-1]) == marks.sep) + 1)]
    done = [one.tolist() for one in np.split(np.array(back), np.flatnonzero(np.array(back[:-1]) == marks.sep) + 1)]
    assert done[:-1] == whole[: len(done) - 1]
    assert done[-1] == whole[len(done) - 1][: len(done[-1])]


def test_half_of_the_texts_get_a_gap(marks: Marks) -> None:
    form, rows = Infill(marks), [one(np.random.default_rng(n).integers(FIRST, LAST, 41), n) for n in range(1000)]
    batch = form(rows, 40)
    assert batch.ids_BT.shape == (1000, 40) and batch.ids_BT[:, 1:].equal(batch.labels_BT[:, :-1])
    assert 440 < int((batch.ids_BT[:, 0] == PREFIX).sum()) < 560


def test_rows_grow_without_changing_where_the_stream_stands(marks: Marks, documents: Documents) -> None:
    text = documents([40] * 20)
    for form in (Causal(), Causal(marks, packed=True), Prefix(), SourcePrefix(marks), Infill(marks)):
        short, long = Feed(text, form, 32, Place(0)), Feed(text, form, 32, Place(0))
        for _ in range(5):
            small, large = short.take(3, 8), long.take(3)
            assert small.ids_BT.shape[1] <= 8 < large.ids_BT.shape[1]
            assert short.place == long.place
            assert [span[0] for span in small.spans] == [span[0] for span in large.spans][: len(small.spans)] or len(
                large.spans
            ) > len(small.spans)


def test_bad_input(marks: Marks) -> None:
    with pytest.raises(SettingsError, match=r"fim_prefix.*nextword tokenizer train --for infill"):
        Infill(Marks(marks.vocab_size))
    with pytest.raises(SettingsError, match="no room for a gap"):
        Infill(marks).room(5)
    for form, length in ((Prefix(), 1), (SourcePrefix(marks), 2)):
        with pytest.raises(SettingsError, match="no room for a prefix"):
            form.room(length)
