"""Packed documents give what each gives in a row of its own, for every kind of model."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nextword.core.errors import SettingsError
from nextword.models.base import Batch
from nextword.models.create import create
from nextword.models.families import llama
from nextword.models.settings import ModelSettings

VOCABULARY = 30
TOLERANCE = 1e-5


class Ids:
    """A token source in memory."""

    def __len__(self) -> int:
        return 400

    def read(self, start: int, stop: int) -> Any:
        return torch.arange(start, stop).square().remainder(23).numpy()


def made(family: str) -> Any:
    model: Any = create(SIZES[family], VOCABULARY, seed=3, eos_id=0)
    if family == "ngram":
        model.count(Ids())
        return model
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for weight in model.parameters():
            weight.normal_(0, 0.4, generator=generator)
    return model.eval()


SIZES = {
    "llama": ModelSettings(width=16, depth=2, heads=4, kv_heads=2),
    "gemma3_text": ModelSettings(family="gemma3_text", width=16, depth=6, heads=4, kv_heads=2, window=3, tied=False),
    "gpt2": ModelSettings(family="gpt2", width=16, depth=2, heads=4),
    "bert": ModelSettings(family="bert", width=16, depth=2, heads=4),
    "nextword": ModelSettings(family="nextword", width=16, depth=2, heads=4, order=4, buckets=64),
    "lstm": ModelSettings(family="lstm", width=16, depth=2),
    "ngram": ModelSettings(family="ngram", order=4),
}
MODELS = {family: made(family) for family in SIZES}
ROWS = st.lists(st.lists(st.integers(1, 6), min_size=1, max_size=4), min_size=1, max_size=3)


def packed(lengths: list[list[int]]) -> tuple[Batch, list[tuple[int, int, int]]]:
    """Documents of these lengths row by row, right-padded; and (row, begin, end) of each."""
    longest = max(map(sum, lengths))
    ids_BT = torch.randint(1, VOCABULARY, (len(lengths), longest), generator=torch.Generator().manual_seed(0))
    segments_BT, mask_BT = torch.full_like(ids_BT, -1), torch.zeros_like(ids_BT, dtype=torch.bool)
    places = []
    for row, sizes in enumerate(lengths):
        at = 0
        for number, size in enumerate(sizes):
            segments_BT[row, at : at + size] = number
            places.append((row, at, at + size))
            at += size
        mask_BT[row, :at] = True
    return Batch(ids_BT, None if mask_BT.all() else mask_BT, segments_BT), places


@pytest.mark.parametrize("family", sorted(SIZES))
@given(lengths=ROWS)
@settings(max_examples=20, deadline=None)
@torch.no_grad()
def test_packed_equals_separate(family: str, lengths: list[list[int]]) -> None:
    model = MODELS[family]
    batch, places = packed(lengths)
    found_BTD = model.hidden(batch).hidden_BTD
    labels_BT = batch.ids_BT.roll(-1, 1)
    scores_BT = model.score(batch, labels_BT)
    for row, begin, end in places:
        alone = Batch(batch.ids_BT[row : row + 1, begin:end])
        wanted_TD = model.hidden(alone).hidden_BTD[0]
        assert (found_BTD[row, begin:end] - wanted_TD).abs().max() <= TOLERANCE * wanted_TD.abs().max().clamp(min=1)
        wanted_T = model.score(alone, labels_BT[row : row + 1, begin:end])[0]
        assert torch.allclose(scores_BT[row, begin:end], wanted_T, atol=1e-4)


@pytest.mark.parametrize("family", ["llama", "gpt2", "nextword", "lstm", "ngram"])
def test_what_a_model_cannot_read_is_refused(family: str) -> None:
    model = MODELS[family]
    ids_BT = torch.ones(1, 4, dtype=torch.int64)
    with pytest.raises(SettingsError, match="has no token types"):
        model.hidden(Batch(ids_BT, types_BT=ids_BT))
    with pytest.raises(SettingsError, match="reads no source"):
        model.hidden(Batch(ids_BT, source=Batch(ids_BT)))
    with pytest.raises(SettingsError, match="without a state"):
        model.hidden(Batch(ids_BT, segments_BT=ids_BT), model.start(1, 8))


def test_documents_that_stretch_their_frequencies_need_rows_of_their_own() -> None:
    config = {**MODELS["llama"].config, "max_position_embeddings": 4}
    config["rope_parameters"] = {"rope_type": "dynamic", "rope_theta": 100.0, "factor": 2.0}
    model = llama.FAMILY.build(config)
    model.load_state_dict(MODELS["llama"].state_dict())
    ids_BT = torch.arange(7)[None]
    with pytest.raises(SettingsError, match="give it a row of its own"):
        model.hidden(Batch(ids_BT, segments_BT=torch.tensor([[0, 0, 0, 0, 0, 1, 1]])))
    with torch.no_grad():
        found = model.hidden(Batch(ids_BT, segments_BT=torch.tensor([[0, 0, 0, 0, 1, 1, 1]]))).hidden_BTD[0]
        wanted = model.hidden(Batch(ids_BT[:, 4:])).hidden_BTD[0]
    assert torch.allclose(found[4:], wanted, atol=1e-4)
