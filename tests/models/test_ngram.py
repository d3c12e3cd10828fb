"""The n-gram by hand: EXAMPLES' counts, Witten-Bell mixing, documents, and the protocol of all models."""

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nextword.core.errors import DataError
from nextword.models import counts as counting
from nextword.models.base import Batch, LanguageModel, pad
from nextword.models.create import create
from nextword.models.ngram import NGram
from nextword.models.settings import ModelSettings

A, B, C, D = range(4)
TEXT = [A, A, B, C, D, A, B, B, A, C]


class Ids:
    """A token source in memory."""

    def __init__(self, ids: list[int]) -> None:
        self.ids = np.array(ids, np.uint16)

    def __len__(self) -> int:
        return len(self.ids)

    def read(self, start: int, stop: int) -> np.ndarray:
        return self.ids[start:stop]


def counted(ids: list[int], vocab_size: int = 4, order: int = 3, eos_id: int | None = None) -> NGram:
    model = create(ModelSettings(family="ngram", order=order), vocab_size, seed=0, eos_id=eos_id)
    model.count(Ids(ids))
    return model


def test_plain_frequencies_of_the_worked_example() -> None:
    """P(A) = 4/10; A has a successor 4 times, one is C; AB has one twice, one is C. P(ABC) = .4 · .5 · .5 = .10."""
    counts = counted(TEXT).counts
    none = np.empty((1, 0), np.int64)
    p_a = counts.frequencies(none, np.array([A]))[0]
    p_b_after_a, p_c_after_a = counts.frequencies(np.array([[A], [A]]), np.array([B, C]))
    p_c_after_ab = counts.frequencies(np.array([[A, B]]), np.array([C]))[0]
    assert (p_a, p_b_after_a, p_c_after_a, p_c_after_ab) == (0.4, 0.5, 0.25, 0.5)
    assert p_a * p_b_after_a * p_c_after_ab == pytest.approx(0.10)
    assert np.isnan(counts.frequencies(np.array([[C, C]]), np.array([A]))[0])


def test_witten_bell_by_hand() -> None:
    """Each length mixes its count with the length below, weighted by how many different tokens followed."""
    p_1 = (2 + 4 * (1 / 4)) / (10 + 4)  # C: 2 of 10 tokens, 4 kinds
    successors = Counter(b for a, b in pairwise(TEXT) if a == B)
    assert (sum(successors.values()), len(successors), successors[C]) == (3, 3, 1)
    p_2 = (1 + 3 * p_1) / (3 + 3)  # after B: three successors of three kinds
    p_3 = (1 + 2 * p_2) / (2 + 2)  # after A B: C and B, once each
    model = counted(TEXT)
    logp = model.score(Batch(torch.tensor([[A, B]])), torch.tensor([[-100, C]]))
    assert logp[0, 0] == 0
    assert logp[0, 1].exp().item() == pytest.approx(p_3)


def test_an_unseen_context_falls_back_to_the_shorter_one_and_nothing_is_impossible() -> None:
    model = counted([0, 1, 0, 1], vocab_size=5)
    p = model.logits(torch.tensor([[3, 0], [-1, 0], [4, 4], [-1, -1]])).exp()
    assert torch.allclose(p[0], p[1]) and torch.allclose(p[2], p[3])
    assert (p > 0).all()
    untrained = create(ModelSettings(family="ngram"), 5, seed=0)
    assert torch.allclose(untrained.logits(torch.tensor([[1, 2]])).exp(), torch.full((1, 5), 0.2))


def test_contexts_do_not_reach_over_the_end_of_a_document() -> None:
    """End = 0. The end begins the context of the next document's first tokens; what stood before it is not seen."""
    model = counted([1, 2, 0, 3, 1, 0], order=3, eos_id=0)
    ids_BT = torch.tensor([[1, 2, 0, 3, 1, 0, 0]])
    assert model.hidden(Batch(ids_BT)).hidden_BTD.tolist() == [
        [[-1, 1], [1, 2], [-1, 0], [0, 3], [3, 1], [-1, 0], [-1, 0]]
    ]
    tables = model.counts
    pairs = {tuple(divmod(int(key), 4)) for key in tables.keys[1]}
    assert pairs == {(1, 2), (2, 0), (0, 3), (3, 1), (1, 0)}
    triples = {(*divmod(int(tables.keys[1][key // 4]), 4), int(key % 4)) for key in tables.keys[2]}
    assert triples == {(1, 2, 0), (0, 3, 1), (3, 1, 0)}  # not (2, 0, 3), which reaches over the end


def naive(ids: list[int], order: int, eos_id: int | None) -> list[Counter]:
    """Counts of k-grams with no end of document between their first and last token, by going through them."""
    found = []
    for k in range(1, order + 1):
        grams = (tuple(ids[i : i + k]) for i in range(len(ids) - k + 1))
        found.append(Counter(gram for gram in grams if eos_id not in gram[1:-1] or eos_id is None))
    return found


@given(st.lists(st.integers(0, 4), min_size=1, max_size=60), st.integers(1, 5), st.booleans(), st.integers(1, 9))
@settings(max_examples=80, deadline=None)
def test_tables_equal_naive_counts_and_distributions_sum_to_one(
    ids: list[int], order: int, ends: bool, chunk: int
) -> None:
    vocab_size, eos_id = 6, 0 if ends else None
    patch = pytest.MonkeyPatch()
    patch.setattr(counting, "CHUNK_TOKENS", chunk)  # several chunks, whose tables are merged
    patch.setattr(counting, "MERGE_ENTRIES", 5)
    with patch.context():
        model = counted(ids, vocab_size, order, eos_id)
    patch.undo()
    tables, grams = model.counts, [(token,) for token in range(vocab_size)]
    for k, wanted in enumerate(naive(ids, order, eos_id), 1):
        if k > 1:
            grams = [(*grams[key // vocab_size], int(key % vocab_size)) for key in tables.keys[k - 1]]
        found = {gram: int(n) for gram, n in zip(grams, tables.counts[k - 1], strict=True) if n}
        assert found == dict(wanted)
    hidden_ND = model.hidden(Batch(torch.tensor([ids]))).hidden_BTD[0]
    logp_NV = model.logits(hidden_ND)
    assert torch.allclose(logp_NV.exp().sum(1), torch.ones(len(ids)), atol=1e-5)
    labels_BT = torch.tensor([[*ids[1:], 5]])
    score_BT = model.score(Batch(torch.tensor([ids])), labels_BT)
    assert torch.allclose(score_BT, logp_NV.gather(1, labels_BT.T).T, atol=1e-5)


def test_state_pieces_crop_and_select_equal_reading_at_once() -> None:
    model = counted(TEXT, order=4)
    assert isinstance(model, LanguageModel)
    rows = [[A, B, C, D, A], [B], [C, A, B]]
    wanted = [model.hidden(Batch(torch.tensor([row]))).hidden_BTD[0] for row in rows]
    for found, one in zip(model.hidden(pad(rows)).hidden_BTD, wanted, strict=True):
        assert torch.equal(found[: len(one)], one)
    state = model.hidden(pad([row[:2] for row in rows]), model.start(3, 0)).state
    assert state.lengths_B.tolist() == [2, 1, 2]
    last = model.hidden(pad([[C, D, A], [], [B]]), state)
    assert torch.equal(last.hidden_BTD[0], wanted[0][2:])
    assert torch.equal(last.hidden_BTD[2, 0], wanted[2][2])
    back = last.state.crop(torch.tensor([3, 1, 0])).select(torch.tensor([0, 2, 0]))
    again = model.hidden(Batch(torch.tensor([[D], [A], [B]])), back).hidden_BTD[:, 0]
    assert again.tolist() == [[B, C, D], [-1, -1, A], [B, C, B]]
    assert back.fork(0, 2).lengths_B.tolist() == [3, 3]


def test_a_token_outside_of_the_vocabulary_is_refused() -> None:
    with pytest.raises(DataError, match="id 9, but the vocabulary has 4"):
        counted([1, 9])
