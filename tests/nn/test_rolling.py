"""A cache that keeps no more than a window: whatever way a text is cut, the numbers are those of reading it whole."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nextword.core.errors import SettingsError
from nextword.models.base import Batch, pad
from nextword.models.create import create
from nextword.models.settings import ModelSettings
from nextword.nn import cache, mask

WINDOW, SLACK, VOCABULARY = 3, 2, 30
SIZES = {"width": 16, "depth": 3, "heads": 4, "kv_heads": 2, "max_length": 64}


@pytest.fixture(autouse=True, scope="module")
def short_slack() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mask, "SLACK", SLACK)
        patch.setattr(cache, "SLACK", SLACK)
        yield


def made(family: str) -> Any:
    model: Any = create(ModelSettings(family=family, window=WINDOW, **SIZES), VOCABULARY, seed=3, eos_id=0)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for weight in model.parameters():
            weight.normal_(0, 0.4, generator=generator)
    return model.eval()


MODELS = {family: made(family) for family in ("mistral", "gemma2")}
IDS = torch.randint(0, VOCABULARY, (3, 40), generator=torch.Generator().manual_seed(0))
WHOLE = {family: model.hidden(Batch(IDS)).hidden_BTD.detach() for family, model in MODELS.items()}


def same(found: torch.Tensor, wanted: torch.Tensor) -> None:
    assert (found - wanted).abs().max() <= 1e-5 * wanted.abs().max()


PIECES = st.lists(st.lists(st.integers(0, 9), min_size=3, max_size=3), min_size=1, max_size=6)


@pytest.mark.parametrize("family", sorted(MODELS))
@given(PIECES, st.integers(1, 12))
@settings(max_examples=25, deadline=None)
@torch.no_grad()
def test_pieces_of_ragged_rows_equal_the_whole(family: str, cuts: list[list[int]], length: int) -> None:
    model, read = MODELS[family], [0, 0, 0]
    state = model.start(3, length)
    for cut in [*cuts, [1, 1, 1], [1, 0, 1], [1, 1, 1]]:
        stops = [min(place + count, IDS.shape[1]) for place, count in zip(read, cut, strict=True)]
        if stops == read:
            continue
        parts = [slice(place, stop) for place, stop in zip(read, stops, strict=True)]
        out = model.hidden(pad([IDS[row, part].tolist() for row, part in enumerate(parts)]), state)
        for row, part in enumerate(parts):
            if part.start < part.stop:
                same(out.hidden_BTD[row, : part.stop - part.start], WHOLE[family][row, part])
        read = stops
        state = out.state
        assert state.lengths == read


@torch.no_grad()
def test_memory_is_bounded_by_the_window() -> None:
    for family, kept in (("mistral", [WINDOW + SLACK] * 3), ("gemma2", [WINDOW + SLACK, 40, WINDOW + SLACK])):
        model = MODELS[family]
        state = model.start(1, 40)
        for place in range(40):
            out = model.hidden(Batch(IDS[:1, place : place + 1]), state)
            state = out.state
            same(out.hidden_BTD[:, 0], WHOLE[family][:1, place])
        assert [layer.k_BKSE.shape[2] for layer in state.layers] == kept


@torch.no_grad()
def test_what_is_kept_can_be_taken_back_and_more_is_refused() -> None:
    model, whole = MODELS["mistral"], WHOLE["mistral"]
    prompt = model.hidden(Batch(IDS[:, :20]), model.start(3, 40)).state
    state = model.hidden(Batch(IDS[:, 30 : 30 + SLACK]), prompt).state  # other tokens, taken back
    state = state.crop(torch.tensor([20, 20, 20]))
    same(model.hidden(Batch(IDS[:, 20:24]), state).hidden_BTD, whole[:, 20:24])
    with pytest.raises(SettingsError, match="a row of 24 tokens cannot be taken back to 20"):
        model.hidden(Batch(IDS[:, 20:21]), prompt)  # its buffers were written on by the state that came after
    after = model.hidden(Batch(IDS[:, 24:25]), model.hidden(Batch(IDS[:, 20:24]), prompt_of(model)).state).state
    with pytest.raises(SettingsError, match="a row of 25 tokens cannot be taken back to 22"):
        after.crop(torch.tensor([25, 22, 25]))
    back = after.crop(torch.tensor([25, 23, 25])).select(torch.tensor([1, 0]))
    same(model.hidden(Batch(torch.stack([IDS[1, 23:25], IDS[0, 25:27]])), back).hidden_BTD[0], whole[1, 23:25])
    anew = after.crop(torch.tensor([0, 0, 0]))  # nothing is looked at any more
    same(model.hidden(Batch(IDS[:, :9]), anew).hidden_BTD, whole[:, :9])


def prompt_of(model: Any) -> Any:
    return model.hidden(Batch(IDS[:, :20]), model.start(3, 40)).state
