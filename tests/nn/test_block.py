"""Arrangements of a block, embeddings and heads, written out by hand."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from nextword.nn.attention import AttentionSettings
from nextword.nn.block import BlockSettings, make_block
from nextword.nn.embedding import Embedding, EmbeddingSettings, make_embedding
from nextword.nn.feedforward import FeedForwardSettings
from nextword.nn.head import Head, HeadSettings
from nextword.nn.mask import ALL, CAUSAL, Reach
from nextword.nn.norm import NormSettings
from nextword.nn.position.absolute import sinusoids

NORM = NormSettings(8, 1e-5, "layer")
ATTENTION = AttentionSettings(8, 2, 2, 4, rotary=False)
SETTINGS = BlockSettings(NORM, ATTENTION, FeedForwardSettings(8, 12, "relu", gated=False))


def block(arrangement: str, cross: bool = False) -> Any:
    asked = replace(ATTENTION, reach=Reach(causal=False)) if cross else None
    made = make_block(replace(SETTINGS, arrangement=arrangement, cross=asked))
    with torch.no_grad():
        for weight in made.parameters():
            weight.normal_(0, 0.5)
    return made


@pytest.mark.parametrize("arrangement", ["pre", "post", "output", "sandwich", "parallel", "parallel-shared"])
@torch.no_grad()
def test_arrangements(arrangement: str) -> None:
    made, x = block(arrangement), torch.randn(2, 5, 8)

    def attend(y: torch.Tensor) -> torch.Tensor:
        return made.attention(y, (), CAUSAL)

    if arrangement == "pre":
        wanted = x + attend(made.attention_norm(x))
        wanted = wanted + made.feedforward(made.feedforward_norm(wanted))
    elif arrangement == "post":
        wanted = made.attention_norm(x + attend(x))
        wanted = made.feedforward_norm(wanted + made.feedforward(wanted))
    elif arrangement == "output":
        wanted = x + made.attention_norm(attend(x))
        wanted = wanted + made.feedforward_norm(made.feedforward(wanted))
    elif arrangement == "sandwich":
        wanted = x + made.attention_output_norm(attend(made.attention_norm(x)))
        wanted = wanted + made.feedforward_output_norm(made.feedforward(made.feedforward_norm(wanted)))
    elif arrangement == "parallel":
        wanted = x + attend(made.attention_norm(x)) + made.feedforward(made.feedforward_norm(x))
    else:
        n = made.attention_norm(x)
        wanted = x + attend(n) + made.feedforward(n)
        assert "feedforward_norm.weight" not in made.state_dict()
    assert torch.allclose(made(x, (), CAUSAL), wanted, atol=1e-6)


@pytest.mark.parametrize("arrangement", ["pre", "post"])
@torch.no_grad()
def test_a_source_is_asked_between_the_two(arrangement: str) -> None:
    made, x, source = block(arrangement, cross=True), torch.randn(2, 5, 8), torch.randn(2, 3, 8)
    kept = made.cross.read(source)

    def attend(y: torch.Tensor) -> torch.Tensor:
        return made.attention(y, (), CAUSAL)

    def ask(y: torch.Tensor) -> torch.Tensor:
        q, k, v = (
            made.cross.split(part) for part in (made.cross.query(y), made.cross.key(source), made.cross.value(source))
        )
        weights = (q @ k.mT / 2).softmax(-1)
        return made.cross.output((weights @ v).transpose(1, 2).flatten(2))

    if arrangement == "pre":
        wanted = x + attend(made.attention_norm(x))
        wanted = wanted + ask(made.cross_norm(wanted))
        wanted = wanted + made.feedforward(made.feedforward_norm(wanted))
    else:
        wanted = made.attention_norm(x + attend(x))
        wanted = made.cross_norm(wanted + ask(wanted))
        wanted = made.feedforward_norm(wanted + made.feedforward(wanted))
    assert torch.allclose(made(x, (), CAUSAL, source=(kept, ALL)), wanted, atol=1e-6)


def test_dropout_falls_only_while_training() -> None:
    made = make_block(replace(SETTINGS, dropout=0.5))
    x = torch.randn(1, 5, 8)
    assert not torch.equal(made.train()(x, (), CAUSAL), made(x, (), CAUSAL))
    assert torch.equal(made.eval()(x, (), CAUSAL), made(x, (), CAUSAL))


@torch.no_grad()
def test_embedding_adds_what_there_is() -> None:
    made = make_embedding(
        10, 6, EmbeddingSettings("learned", 7, types=2, norm=NormSettings(6, 1e-3, "layer"), scale=3.0)
    )
    made.initialise(1.0, torch.Generator().manual_seed(0))
    ids, places, types = torch.tensor([[4, 9]]), torch.tensor([[0, 6]]), torch.tensor([[1, 0]])
    x = 3 * made.weight[ids] + made.positions.weight[places] + made.types.weight[types]
    assert torch.allclose(made.read(ids, places, 7, types), made.norm(x), atol=1e-6)
    assert torch.equal(made.read(ids, places, 7, None), made.read(ids, places, 7, torch.zeros_like(types)))
    assert type(make_embedding(10, 6, None)) is Embedding
    waves = make_embedding(10, 6, EmbeddingSettings("sinusoidal"))
    waves.initialise(1.0, torch.Generator().manual_seed(0))
    assert torch.allclose(waves.read(ids, places, 7, None)[0, 1], waves.weight[9] + sinusoids(7, 6)[6])


@torch.no_grad()
def test_heads() -> None:
    hidden, matrix = torch.randn(3, 8), torch.randn(5, 8)
    assert torch.allclose(Head(HeadSettings(scale=0.25), 8, 5, True)(hidden, matrix), hidden @ matrix.T / 4, atol=1e-6)
    capped = Head(HeadSettings(cap=2.0), 8, 5, True)(hidden, matrix)
    assert torch.allclose(capped, 2 * torch.tanh(hidden @ matrix.T / 2), atol=1e-6) and capped.abs().max() <= 2
    full = Head(HeadSettings(bias=True, transform="relu", norm=NORM), 8, 5, False)
    full.initialise(1.0, torch.Generator().manual_seed(0))
    full.bias.normal_()
    dense = full.prepare.dense
    wanted = full.prepare.norm(torch.relu(hidden @ dense.weight.T + dense.bias)) @ full.weight.T + full.bias
    assert torch.allclose(full(hidden, full.weight), wanted, atol=1e-5)
