"""Attention that skips what nobody sees equals attention that hides it; uncompiled, which has no gradient on a CPU."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from nextword.models.base import Batch
from nextword.models.create import create
from nextword.models.settings import ModelSettings
from nextword.nn import flexible
from nextword.nn.mask import Reach

VOCABULARY, TIME = 40, 150  # two blocks of queries
SIZES = ModelSettings(width=64, depth=2, heads=4, kv_heads=2, max_length=TIME)
FAMILIES = {
    "llama": SIZES,
    "mistral": replace(SIZES, family="mistral", window=20),
    "gemma2": replace(SIZES, family="gemma2", window=20),  # windows in every second layer, scores capped
    "bert": replace(SIZES, family="bert", kv_heads=None),
    "modernbert": replace(SIZES, family="modernbert", kv_heads=None),
}


def rows(padded: bool) -> Batch:
    """Two rows of documents of unequal lengths, the second padded at its end."""
    draw = torch.Generator().manual_seed(0)
    ids_BT = torch.randint(0, VOCABULARY, (2, TIME), generator=draw)
    segments_BT = torch.stack([torch.arange(TIME) // 60, torch.arange(TIME) // 35])
    mask_BT = torch.ones_like(ids_BT, dtype=torch.bool)
    mask_BT[1, 130:] = not padded
    return Batch(ids_BT, mask_BT if padded else None, segments_BT=segments_BT)


def hidden(model: Any, batch: Batch) -> torch.Tensor:
    found_BTD = model.hidden(batch).hidden_BTD
    return found_BTD if batch.mask_BT is None else found_BTD * batch.mask_BT[..., None]


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_blocks_equal_the_mask(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model: Any = create(FAMILIES[family], VOCABULARY, 0).eval()
    batch = rows(padded=model.kind == "encoder")
    used = []
    monkeypatch.setattr("nextword.nn.attention.flexible", lambda *args: used.append(1) or flexible.flexible(*args))
    expected = hidden(model, batch)
    assert not used
    monkeypatch.setattr(flexible, "DEVICES", frozenset({"cpu"}))
    found = hidden(model, batch)
    assert len(used) == len(model.blocks), "every layer takes the blocks"
    assert torch.allclose(found, expected, atol=1e-5 * float(expected.abs().max()))


def test_blocks_without_anything_to_see_are_left_out() -> None:
    begins_BT = (torch.arange(1024) // 256 * 256)[None]  # four documents of two blocks each
    found = flexible.block_mask(Reach(causal=True), begins_BT, None, (1, 1024), torch.device("cpu"))
    assert found.sparsity() == pytest.approx(100 * (1 - 4 * 3 / 64))  # three of four blocks in each document


def test_what_needs_numbers_added_or_dropout_keeps_the_mask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flexible, "DEVICES", frozenset({"cpu"}))
    monkeypatch.setattr("nextword.nn.attention.flexible", lambda *_: pytest.fail("blocks have neither"))
    dropping: Any = create(replace(SIZES, dropout=0.1), VOCABULARY, 0)
    dropping.train().hidden(rows(padded=False))
    biased: Any = create(replace(SIZES, family="bloom", kv_heads=None, max_length=None), VOCABULARY, 0)
    biased.hidden(rows(padded=False))


@pytest.mark.gpu
def test_compiled_blocks_equal_the_mask(monkeypatch: pytest.MonkeyPatch) -> None:
    model: Any = create(FAMILIES["gemma2"], VOCABULARY, 0).to("cuda")
    batch = rows(padded=False)
    batch = replace(batch, ids_BT=batch.ids_BT.cuda(), segments_BT=batch.segments_BT.cuda())
    found = []
    for devices in (flexible.DEVICES, frozenset()):
        monkeypatch.setattr(flexible, "DEVICES", devices)
        model.zero_grad()
        read_BTD = hidden(model, batch)
        read_BTD.square().sum().backward()
        gradient = torch.cat([w.grad.flatten() for w in model.parameters() if w.grad is not None])
        found.append((read_BTD.detach(), gradient))
    for ours, expected in zip(*found, strict=True):
        assert torch.allclose(ours, expected, atol=1e-3 * float(expected.abs().max()))
