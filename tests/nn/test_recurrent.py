"""The LSTM: its formulas written out, ragged rows, and a state that cannot be taken back."""

import pytest
import torch

from nextword.core.errors import SettingsError
from nextword.models.base import Batch, pad
from nextword.models.create import create
from nextword.models.recurrent import RecurrentModel
from nextword.models.settings import ModelSettings
from nextword.nn.recurrent import Recurrence, RecurrentSettings


def by_hand(recurrence: Recurrence, x_TD: torch.Tensor) -> torch.Tensor:
    """Input, forget and output gates and a cell, one token and one layer at a time."""
    lstm, width = recurrence.lstm, recurrence.settings.width
    for layer in range(recurrence.settings.depth):
        w, u, b, b2 = (getattr(lstm, f"{n}_l{layer}") for n in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
        h, c = torch.zeros(width), torch.zeros(width)
        outputs = []
        for x in x_TD:
            i, f, g, o = (w @ x + u @ h + b + b2).chunk(4)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(c)
            outputs.append(h)
        x_TD = torch.stack(outputs)
    return x_TD


def model() -> RecurrentModel:
    return create(ModelSettings(family="lstm", width=12, depth=2), 30, seed=4).eval()


@torch.no_grad()
def test_equals_the_formulas() -> None:
    recurrence = Recurrence(RecurrentSettings(5, 2))
    for weight in recurrence.parameters():
        torch.nn.init.normal_(weight, 0, 0.7)
    x_BTD = torch.randn(2, 6, 5)
    out, state = recurrence(x_BTD, recurrence.start(2, x_BTD), None)
    for found, x_TD in zip(out, x_BTD, strict=True):
        assert torch.allclose(found, by_hand(recurrence, x_TD), atol=1e-6)
    assert torch.equal(state.h_LBD[-1], out[:, -1])


@torch.no_grad()
def test_padded_equals_unpadded_and_pieces_equal_the_whole() -> None:
    lm, rows = model(), [[1, 2, 3, 4, 5], [6], [7, 8, 9]]
    wanted = [lm.hidden(Batch(torch.tensor([row]))).hidden_BTD[0] for row in rows]
    for found, one, row in zip(lm.hidden(pad(rows)).hidden_BTD, wanted, rows, strict=True):
        assert torch.allclose(found[: len(row)], one, atol=1e-6)
    state, found = lm.start(3, 5), [[], [], []]
    for piece in ([row[:1] for row in rows], [row[1:2] for row in rows], [row[2:] for row in rows]):
        out = lm.hidden(pad(piece), state)
        state = out.state
        for b, some in enumerate(piece):
            found[b].append(out.hidden_BTD[b, : len(some)])
    assert state.lengths_B.tolist() == [5, 1, 3]
    for parts, one in zip(found, wanted, strict=True):
        assert torch.allclose(torch.cat(parts), one, atol=1e-6)


@torch.no_grad()
def test_states_are_selected_and_forked_but_not_taken_back() -> None:
    lm = model()
    state = lm.hidden(pad([[1, 2, 3], [4, 5]]), lm.start(2, 8)).state
    out = lm.hidden(Batch(torch.tensor([[6], [7]])), state.select(torch.tensor([1, 0]))).hidden_BTD
    assert torch.allclose(out[0, 0], lm.hidden(Batch(torch.tensor([[4, 5, 6]]))).hidden_BTD[0, -1], atol=1e-6)
    assert torch.allclose(out[1, 0], lm.hidden(Batch(torch.tensor([[1, 2, 3, 7]]))).hidden_BTD[0, -1], atol=1e-6)
    assert state.fork(1, 4).lengths_B.tolist() == [2, 2, 2, 2]
    assert state.crop(state.lengths_B) is state
    fresh = state.crop(torch.zeros(2, dtype=torch.int64))
    assert not fresh.h_LBD.any() and not fresh.lengths_B.any()
    with pytest.raises(SettingsError, match="cannot be taken back"):
        state.crop(torch.tensor([2, 2]))


def test_forget_gates_start_open() -> None:
    lstm = model().recurrence.lstm
    for bias in (lstm.bias_ih_l0, lstm.bias_ih_l1):
        assert bias[12:24].eq(1).all() and not bias[:12].any() and not bias[24:].any()
    assert not lstm.bias_hh_l0.any()


def test_dropout_falls_only_while_training() -> None:
    lm = create(ModelSettings(family="lstm", width=12, depth=2, dropout=0.5), 30, seed=4)
    batch = Batch(torch.arange(10)[None])
    assert not torch.equal(lm.train().hidden(batch).hidden_BTD, lm.hidden(batch).hidden_BTD)
    assert torch.equal(lm.eval().hidden(batch).hidden_BTD, lm.hidden(batch).hidden_BTD)
