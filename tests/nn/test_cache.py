"""The KV cache: whatever way a text is cut, copied or taken back, the hidden vectors are those of reading it whole."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nextword.models.base import Batch, pad
from nextword.models.create import create
from nextword.models.families import llama
from nextword.models.settings import ModelSettings
from nextword.models.transformer import Transformer

VOCABULARY = 40
TOLERANCE = 2e-6


def model(kv_heads: int = 2) -> Transformer:
    made = create(ModelSettings(width=24, depth=2, heads=4, kv_heads=kv_heads, max_length=64), VOCABULARY, seed=1)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in made.parameters():
            weight.normal_(0, 0.4, generator=generator)
    return made.eval()


MODELS = {heads: model(heads) for heads in (1, 2, 4)}


def rows_of(lengths: list[int], seed: int = 0) -> list[list[int]]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(0, VOCABULARY, (length,), generator=generator).tolist() for length in lengths]


def alone(lm: Transformer, row: list[int]) -> torch.Tensor:
    return lm.hidden(Batch(torch.tensor([row]))).hidden_BTD[0]


def close(found: torch.Tensor, wanted: torch.Tensor) -> bool:
    return bool((found - wanted).abs().max() <= TOLERANCE * wanted.abs().max())


@given(
    st.sampled_from(sorted(MODELS)),
    st.lists(st.lists(st.integers(0, 5), min_size=1, max_size=4), min_size=1, max_size=4),
    st.integers(0, 12),
)
@settings(max_examples=60, deadline=None)
@torch.no_grad()
def test_ragged_pieces_equal_whole_rows(heads: int, pieces: list[list[int]], capacity: int) -> None:
    """`pieces[n][b]` tokens of row b are read in call n, any number including none; capacity may be too small."""
    lm, count = MODELS[heads], min(map(len, pieces))
    rows = rows_of([sum(piece[b] for piece in pieces) for b in range(count)])
    state, found = lm.start(count, capacity), [[] for _ in range(count)]
    for piece in pieces:
        part = [row[at : at + piece[b]] for b, (row, at) in enumerate(zip(rows, state.lengths_B.tolist(), strict=True))]
        if any(part):
            out = lm.hidden(pad(part), state)
            state = out.state
            for b, some in enumerate(part):
                found[b].append(out.hidden_BTD[b, : len(some)])
    assert state.lengths_B.tolist() == [len(row) for row in rows]
    for parts, row in zip(found, rows, strict=True):
        if row:
            assert close(torch.cat(parts), alone(lm, row))


@torch.no_grad()
def test_padded_equals_unpadded_without_a_state() -> None:
    rows = rows_of([9, 1, 4])
    out = MODELS[2].hidden(pad(rows)).hidden_BTD
    for found, row in zip(out, rows, strict=True):
        assert close(found[: len(row)], alone(MODELS[2], row))


@torch.no_grad()
def test_select_repeats_drops_and_orders_rows_as_copies() -> None:
    lm, rows = MODELS[2], rows_of([5, 3, 4])
    state = lm.hidden(pad(rows), lm.start(3, 16)).state
    chosen = state.select(torch.tensor([2, 0, 2]))
    assert chosen.lengths_B.tolist() == [4, 5, 4]
    out = lm.hidden(Batch(torch.tensor([[1], [2], [3]])), chosen)
    lm.hidden(Batch(torch.tensor([[7], [7], [7]])), state)  # writes to the original, not to the copies
    after = lm.hidden(Batch(torch.tensor([[4], [5], [6]])), out.state).hidden_BTD
    for found, (row, first, second) in zip(after, [(2, 1, 4), (0, 2, 5), (2, 3, 6)], strict=True):
        assert close(found[-1], alone(lm, [*rows[row], first, second])[-1])


@torch.no_grad()
def test_fork_shares_a_prompt() -> None:
    lm, (prompt, other) = MODELS[1], rows_of([6, 2])
    state = lm.hidden(pad([prompt, other]), lm.start(2, 8)).state.fork(0, 3)
    out = lm.hidden(Batch(torch.tensor([[1], [2], [3]])), state).hidden_BTD
    for found, token in zip(out, (1, 2, 3), strict=True):
        assert close(found[-1], alone(lm, [*prompt, token])[-1])


@torch.no_grad()
def test_crop_takes_tokens_back() -> None:
    lm, rows = MODELS[4], rows_of([7, 5])
    state = lm.hidden(pad(rows), lm.start(2, 12)).state.crop(torch.tensor([2, 5]))
    out = lm.hidden(pad([[9, 8], [7]]), state)
    assert out.state.lengths_B.tolist() == [4, 6]
    assert close(out.hidden_BTD[0], alone(lm, [*rows[0][:2], 9, 8])[2:])
    assert close(out.hidden_BTD[1, :1], alone(lm, [*rows[1], 7])[5:])
    with pytest.raises(ValueError, match="cannot crop"):
        state.crop(torch.tensor([3, 5]))


@torch.no_grad()
def test_an_old_state_is_left_as_it_was() -> None:
    lm, (row,) = MODELS[2], rows_of([5])
    before = lm.hidden(Batch(torch.tensor([row])), lm.start(1, 16)).state
    lm.hidden(Batch(torch.tensor([[1, 2]])), before)
    assert before.lengths_B.tolist() == [5]
    assert close(lm.hidden(Batch(torch.tensor([[3]])), before).hidden_BTD[0], alone(lm, [*row, 3])[5:])


@pytest.mark.parametrize("cached", [False, True])
@torch.no_grad()
def test_rows_that_outgrow_the_trained_length_stretch_on_their_own(cached: bool) -> None:
    """Under dynamic NTK the frequencies depend on a row's length, not on that of its neighbours in the batch."""
    config = {**MODELS[2].config, "max_position_embeddings": 8}
    config["rope_parameters"] = {"rope_type": "dynamic", "rope_theta": 100.0, "factor": 2.0}
    lm = llama.FAMILY.build(config)
    lm.load_state_dict(MODELS[2].state_dict())
    rows = rows_of([16, 11, 4])
    out = lm.hidden(pad(rows), lm.start(3, 16) if cached else None).hidden_BTD
    for found, row in zip(out, rows, strict=True):
        assert close(found[: len(row)], alone(lm, row))
