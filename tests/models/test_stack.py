"""Whatever a stack is made of: cached equals uncached, padded equals unpadded, packed equals separate."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nextword.models.base import Batch, pad
from nextword.models.encoder_decoder import EncoderDecoder, EncoderDecoderSettings
from nextword.models.stack import StackSettings
from nextword.models.transformer import Transformer, TransformerSettings
from nextword.nn.attention import AttentionSettings
from nextword.nn.block import BlockSettings
from nextword.nn.embedding import EmbeddingSettings
from nextword.nn.feedforward import FeedForwardSettings
from nextword.nn.head import HeadSettings
from nextword.nn.mask import Reach
from nextword.nn.norm import NormSettings
from nextword.nn.position.relative import AlibiSettings, RelativeSettings
from nextword.nn.position.rope import RopeSettings

WIDTH, HEADS, VOCABULARY = 16, 4, 30
TOLERANCE = 1e-5
NORM = NormSettings(WIDTH, 1e-5, "layer")
ATTENTION = AttentionSettings(WIDTH, HEADS, HEADS, 4, rotary=False)
FFN = FeedForwardSettings(WIDTH, 24, "gelu", bias=True, gated=False)
BLOCK = BlockSettings(NORM, ATTENTION, FFN)


def described(block: BlockSettings = BLOCK, **more: Any) -> TransformerSettings:
    plain: dict[str, Any] = {"blocks": (block, block), "norm": NORM, "max_length": 64, "tied": True}
    return TransformerSettings(vocab_size=VOCABULARY, width=WIDTH, **(plain | more))


def attending(**changes: Any) -> BlockSettings:
    return replace(BLOCK, attention=replace(ATTENTION, **changes))


LEARNED = EmbeddingSettings("learned", 64)
NEAR, FAR = attending(reach=Reach(window=3)), attending()
DECODERS = {
    "learned": described(embedding=LEARNED),
    "sinusoidal, scaled": described(embedding=EmbeddingSettings("sinusoidal", scale=4.0)),
    "rope, one key-value head": described(attending(rotary=True, kv_heads=1), rope=RopeSettings()),
    "alibi, grouped": described(attending(kv_heads=2), bias=AlibiSettings(HEADS)),
    "t5 bias": described(bias=RelativeSettings(HEADS, 8, 10)),
    "window": described(attending(reach=Reach(window=3), kv_heads=2), embedding=LEARNED),
    "window in every second layer": described(NEAR, blocks=(NEAR, FAR, NEAR), embedding=LEARNED),
    "window with alibi": described(attending(reach=Reach(window=2)), bias=AlibiSettings(HEADS)),
    "capped": described(attending(cap=2.0, kv_heads=2), embedding=LEARNED, head=HeadSettings(cap=3.0)),
    "capped window": described(attending(cap=2.0, reach=Reach(window=3)), embedding=LEARNED),
    "normed queries and keys": described(attending(qk_norm=NormSettings(4), rotary=True), rope=RopeSettings()),
    "post": described(replace(BLOCK, arrangement="post"), norm=None, embedding=LEARNED),
    "restarted": described(replace(BLOCK, arrangement="restarted"), embedding=LEARNED),
    "rounded alibi": described(bias=AlibiSettings(HEADS, 0.3, rounded=True)),
    "part of a head turns": described(attending(rotary=True, rotary_width=2), rope=RopeSettings()),
    "parallel": described(replace(BLOCK, arrangement="parallel"), embedding=LEARNED),
    "parallel, one norm": described(replace(BLOCK, arrangement="parallel-shared"), embedding=LEARNED),
}
BOTH_SIDES = Reach(causal=False)
ENCODERS = {
    "post": described(
        replace(attending(reach=BOTH_SIDES), arrangement="post"), kind="encoder", norm=None, embedding=LEARNED
    ),
    "pre with rope": described(attending(reach=BOTH_SIDES, rotary=True), kind="encoder", rope=RopeSettings()),
    "window": described(attending(reach=Reach(False, 3)), kind="encoder", embedding=LEARNED),
    "t5 bias": described(
        attending(reach=BOTH_SIDES), kind="encoder", bias=RelativeSettings(HEADS, 8, 10, both_sides=True)
    ),
    "alibi, capped": described(attending(reach=BOTH_SIDES, cap=2.0), kind="encoder", bias=AlibiSettings(HEADS)),
}
CROSS = {
    arrangement: EncoderDecoderSettings(
        **{"vocab_size": VOCABULARY, "width": WIDTH, "max_length": None, "tied": True},
        encoder=StackSettings(
            blocks=(replace(attending(reach=BOTH_SIDES), arrangement=arrangement),) * 2,
            norm=None if arrangement == "post" else NORM,
            bias=RelativeSettings(HEADS, 8, 10, both_sides=True),
        ),
        decoder=StackSettings(
            blocks=(replace(BLOCK, arrangement=arrangement, cross=replace(ATTENTION, reach=BOTH_SIDES, kv_heads=2)),)
            * 2,
            norm=None if arrangement == "post" else NORM,
            bias=RelativeSettings(HEADS, 8, 10),
        ),
    )
    for arrangement in ("pre", "post")
}


def drawn(model: Any) -> Any:
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in model.parameters():
            weight.normal_(0, 0.4, generator=generator)
    return model.eval()


MODELS: dict[str, Any] = {f"decoder: {name}": drawn(Transformer(made, {})) for name, made in DECODERS.items()}
MODELS |= {f"encoder: {name}": drawn(Transformer(made, {})) for name, made in ENCODERS.items()}
MODELS |= {f"encoder-decoder: {name}": drawn(EncoderDecoder(made, {})) for name, made in CROSS.items()}
READERS = [name for name in MODELS if not name.startswith("encoder:")]
SOURCES = [[5, 6, 7, 8, 9, 10, 11, 12, 13, 14], [15], [16, 17, 18]]


def source(model: Any, rows: int) -> Batch | None:
    return pad(SOURCES[:rows]) if model.kind == "encoder-decoder" else None


def alone(model: Any, row: list[int], number: int) -> torch.Tensor:
    read = Batch(torch.tensor([SOURCES[number]])) if model.kind == "encoder-decoder" else None
    return model.hidden(Batch(torch.tensor([row]), source=read)).hidden_BTD[0]


def close(found: torch.Tensor, wanted: torch.Tensor) -> None:
    assert (found - wanted).abs().max() <= TOLERANCE * wanted.abs().max()


def rows_of(lengths: list[int]) -> list[list[int]]:
    generator = torch.Generator().manual_seed(2)
    return [torch.randint(0, VOCABULARY, (length,), generator=generator).tolist() for length in lengths]


@pytest.mark.parametrize("name", sorted(MODELS))
@torch.no_grad()
def test_padded_equals_unpadded(name: str) -> None:
    model, rows = MODELS[name], rows_of([9, 1, 5])
    batch = pad(rows)
    found = model.hidden(Batch(batch.ids_BT, batch.mask_BT, source=source(model, 3))).hidden_BTD
    assert found.isfinite().all()
    for number, row in enumerate(rows):
        close(found[number, : len(row)], alone(model, row, number))


@pytest.mark.parametrize("name", READERS)
@given(pieces=st.lists(st.lists(st.integers(0, 4), min_size=3, max_size=3), min_size=1, max_size=4))
@settings(max_examples=8, deadline=None)
@torch.no_grad()
def test_cached_in_ragged_pieces_equals_whole(name: str, pieces: list[list[int]]) -> None:
    model, count = MODELS[name], 3
    rows = rows_of([1 + sum(piece[b] for piece in pieces) for b in range(count)])
    state, found = model.start(count, 3), [[] for _ in range(count)]
    read = source(model, count)
    for piece in [[1] * count, *pieces]:
        starts = state.lengths_B.tolist()
        part = [row[at : at + size] for row, at, size in zip(rows, starts, piece, strict=True)]
        if any(part):
            batch = pad(part)
            out = model.hidden(Batch(batch.ids_BT, batch.mask_BT, source=read), state)
            state, read = out.state, None
            for b, some in enumerate(part):
                found[b].append(out.hidden_BTD[b, : len(some)])
    for number, (parts, row) in enumerate(zip(found, rows, strict=True)):
        close(torch.cat(parts), alone(model, row, number))


@pytest.mark.parametrize("name", READERS)
@torch.no_grad()
def test_states_are_selected_cropped_and_forked(name: str) -> None:
    model, rows = MODELS[name], rows_of([6, 3])
    batch = pad(rows)
    state = model.hidden(Batch(batch.ids_BT, batch.mask_BT, source=source(model, 2)), model.start(2, 8)).state
    chosen = state.select(torch.tensor([1, 0, 1])).crop(torch.tensor([2, 6, 3]))
    found = model.hidden(pad([[1, 2], [3], [4]]), chosen).hidden_BTD
    close(found[0, :2], alone(model, [*rows[1][:2], 1, 2], 1)[-2:])
    close(found[1, :1], alone(model, [*rows[0], 3], 0)[-1:])
    close(found[2, :1], alone(model, [*rows[1], 4], 1)[-1:])
    forked = model.hidden(Batch(torch.tensor([[5], [6]])), state.fork(0, 2)).hidden_BTD
    close(forked[1], alone(model, [*rows[0], 6], 0)[-1:])


@pytest.mark.parametrize("name", [name for name in MODELS if "encoder-decoder" not in name])
@given(lengths=st.lists(st.lists(st.integers(1, 6), min_size=1, max_size=3), min_size=1, max_size=2))
@settings(max_examples=8, deadline=None)
@torch.no_grad()
def test_packed_equals_separate(name: str, lengths: list[list[int]]) -> None:
    model, longest = MODELS[name], max(map(sum, lengths))
    rows = pad([row for sizes in lengths for row in rows_of([sum(sizes)])])
    numbers = [[n for n, size in enumerate(sizes) for _ in range(size)] for sizes in lengths]
    segments_BT = torch.tensor([row + [-1] * (longest - len(row)) for row in numbers])
    found = model.hidden(Batch(rows.ids_BT, rows.mask_BT, segments_BT)).hidden_BTD
    assert found.isfinite().all()
    for row, sizes in enumerate(lengths):
        at = 0
        for size in sizes:
            close(found[row, at : at + size], alone(model, rows.ids_BT[row, at : at + size].tolist(), 0))
            at += size


@pytest.mark.parametrize("name", sorted(CROSS))
@torch.no_grad()
def test_packed_targets_see_the_source_of_their_number(name: str) -> None:
    model = MODELS[f"encoder-decoder: {name}"]
    texts, read = rows_of([4, 3]), SOURCES[:2]
    ids_BT = torch.tensor([texts[0] + texts[1] + [0]])
    segments_BT = torch.tensor([[0] * 4 + [1] * 3 + [-1]])
    mask_BT = segments_BT >= 0
    sources = Batch(torch.tensor([read[0] + read[1]]), None, torch.tensor([[0] * len(read[0]) + [1] * len(read[1])]))
    found = model.hidden(Batch(ids_BT, mask_BT, segments_BT, source=sources)).hidden_BTD[0]
    assert found.isfinite().all()
    close(found[:4], alone(model, texts[0], 0))
    close(found[4:7], alone(model, texts[1], 1))


@pytest.mark.parametrize("name", sorted(MODELS))
def test_score_is_the_log_softmax_of_the_logits_with_its_gradient(name: str) -> None:
    model = MODELS[name]
    batch = Batch(torch.tensor(rows_of([7, 7])), source=source(model, 2))
    labels_BT = torch.tensor(rows_of([7, 7])).roll(1, 1)
    labels_BT[0, ::3] = -100
    weight = next(model.parameters())
    found_BT = model.score(batch, labels_BT)
    (found,) = torch.autograd.grad(found_BT.sum(), weight)
    hidden_BTD = model.hidden(batch).hidden_BTD
    logp_BTV = model.logits(hidden_BTD.flatten(0, 1)).log_softmax(-1).unflatten(0, (2, 7))
    wanted_BT = logp_BTV.gather(-1, labels_BT.clamp(min=0)[..., None]).squeeze(-1) * (labels_BT != -100)
    assert torch.allclose(found_BT, wanted_BT, atol=1e-5)
    (wanted,) = torch.autograd.grad(wanted_BT.sum(), weight)
    assert torch.allclose(found, wanted, atol=1e-4)


@torch.no_grad()
def test_a_row_of_padding_alone_gives_numbers() -> None:
    for name in MODELS:
        model = MODELS[name]
        mask_BT = torch.tensor([[True, True], [False, False]])
        ids_BT = torch.ones(2, 2, dtype=torch.int64)
        read = Batch(ids_BT, mask_BT) if model.kind == "encoder-decoder" else None
        assert model.hidden(Batch(ids_BT, mask_BT, source=read)).hidden_BTD.isfinite().all(), name
