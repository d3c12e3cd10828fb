"""The family of our own: its parts by hand, one by one, and what is left out of it."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from nextword.core.errors import CheckpointError
from nextword.models.base import Batch
from nextword.models.count import count
from nextword.models.create import create
from nextword.models.families import nextword
from nextword.models.settings import ModelSettings
from nextword.nn.ngrams import MULTIPLIER, PRIME, NgramEmbedding

VOCABULARY = 10
SIZES = {"family": "nextword", "width": 16, "depth": 3, "heads": 2, "kv_heads": 1, "max_length": 32}


def drawn(**changes: Any) -> Any:
    """A tiny model with every tensor drawn anew."""
    model: Any = create(ModelSettings(**{**SIZES, **changes}), VOCABULARY, 0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in model.parameters():
            weight.normal_(0, 0.5, generator=generator)
    return model.eval()


def by_hand(model: Any, ids: list[int]) -> torch.Tensor:
    """Logits (T, V) of one row, by the formulas, a position and a head at a time."""
    w = {name: tensor.detach().double() for name, tensor in model.state_dict().items()}

    def norm(x: torch.Tensor, name: str) -> torch.Tensor:
        return x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt() * w[f"{name}.weight"]

    def turned(x: torch.Tensor) -> torch.Tensor:  # (T, 8)
        angles = torch.arange(len(ids))[:, None] / 10_000.0 ** (torch.arange(4) / 4)
        first, second = x[:, :4], x[:, 4:]
        cos, sin = angles.cos(), angles.sin()
        return torch.cat((first * cos - second * sin, second * cos + first * sin), -1)

    bigrams = [id + 11 * before for id, before in zip(ids, [10, *ids], strict=False)]
    padded = [10, 10, *ids]
    trigrams = [padded[t + 2] + 11 * padded[t + 1] + 121 * padded[t] for t in range(len(ids))]
    x = w["embedding.weight"][ids] + w["ngrams.tables.0.weight"][bigrams] + w["ngrams.tables.1.weight"][trigrams]
    x = first = norm(x, "first_norm")
    unseen = torch.full((len(ids), len(ids)), float("-inf")).triu(1)
    for layer in range(3):
        at = f"blocks.{layer}"
        x = w[f"{at}.mix"][0] * x + w[f"{at}.mix"][1] * first
        h = norm(x, f"{at}.attention_norm")
        q, k, v = (F.linear(h, w[f"{at}.attention.{part}.weight"]) for part in ("query", "key", "value"))
        if layer in (0, 2):
            gate = 2 * torch.sigmoid(F.linear(h, w[f"{at}.attention.gate.weight"]))
            v = v + gate * w[f"values.{layer}.weight"][ids]
        k = turned(norm(k, f"{at}.attention.key_norm"))
        heads = []
        for part in q.split(8, -1):
            scores = turned(norm(part, f"{at}.attention.query_norm")) @ k.T / 8**0.5
            heads.append((scores + unseen).softmax(-1) @ v)
        x = x + F.linear(torch.cat(heads, -1), w[f"{at}.attention.output.weight"])
        middle = F.relu(F.linear(norm(x, f"{at}.feedforward_norm"), w[f"{at}.feedforward.up.weight"])).square()
        x = x + F.linear(middle, w[f"{at}.feedforward.down.weight"])
    return 15 * torch.tanh(F.linear(norm(x, "norm"), w["head.weight"]) / 15)


@torch.no_grad()
def test_the_whole_model_by_hand() -> None:
    model, ids = drawn(), [3, 1, 4, 1, 5, 9, 2, 6]
    found = model.logits(model.hidden(Batch(torch.tensor([ids]))).hidden_BTD[0])
    wanted = by_hand(model, ids)
    assert (found - wanted).abs().max() <= 1e-5 * wanted.abs().max()


def test_hashed_ngrams_by_hand() -> None:
    table = NgramEmbedding((2, 4), 50, VOCABULARY, 4)
    assert table.sizes == [50, 50]  # 11² and 11⁴ are more
    ids = [7, 0, 9]
    keys = table.keys(torch.tensor([ids]), torch.arange(3)[None], torch.arange(3)[None])
    for t, (bigram, fourgram) in enumerate(zip(keys[0][0].tolist(), keys[1][0].tolist(), strict=True)):
        value, found = ids[t], []
        for back in (1, 2, 3):
            earlier = ids[t - back] if t >= back else VOCABULARY
            value = (value * MULTIPLIER + earlier + 1) % PRIME
            found.append(value % 50)
        assert (bigram, fourgram) == (found[0], found[2])


def test_a_text_does_not_see_what_stands_before_it() -> None:
    table = NgramEmbedding((2,), 1000, VOCABULARY, 4)
    history, places = torch.tensor([[5, 6, 7, 8]]), torch.arange(4)[None]
    whole = table.keys(history, places, places)[0]
    packed = table.keys(history, places, torch.tensor([[0, 1, 0, 1]]))[0]
    assert whole.tolist() == [[5 + 110, 6 + 55, 7 + 66, 8 + 77]]
    assert packed.tolist() == [[5 + 110, 6 + 55, 7 + 110, 8 + 77]]


@torch.no_grad()
@pytest.mark.parametrize("part", [None, *nextword.PARTS])
def test_each_part_may_be_left_out_and_counts(part: str | None) -> None:
    left_out = () if part is None else (part,)
    model = drawn(without=left_out)
    ids_BT = torch.tensor([[3, 1, 4, 1, 5, 9, 2, 6], [2, 7, 1, 8, 2, 8, 1, 8]])
    whole_BTD = model.hidden(Batch(ids_BT)).hidden_BTD
    state, pieces = model.start(2, 4), []
    for begin, end in ((0, 3), (3, 4), (4, 8)):
        output = model.hidden(Batch(ids_BT[:, begin:end]), state)
        state, pieces = output.state, [*pieces, output.hidden_BTD]
    assert torch.allclose(torch.cat(pieces, 1), whole_BTD, atol=1e-5)
    names = set(model.state_dict())
    assert ("ngrams.tables.0.weight" in names) == (part != "ngrams")
    assert ("values.0.weight" in names) == (part != "value-embeddings")
    assert ("blocks.0.mix" in names) == (part != "mixing")
    assert ("blocks.0.attention.query_norm.weight" in names) == (part != "qk-norm")
    scores_NV = model.logits(50 * whole_BTD.flatten(0, 1))
    assert (scores_NV.abs().max() <= 15) == (part != "cap")
    acts = [block.settings.feedforward.activation for block in model.blocks]
    assert acts == 3 * ["gelu" if part == "relu2" else "relu2"]


def test_a_fresh_model_knows_nothing_and_its_blocks_change_nothing() -> None:
    model: Any = create(ModelSettings(**SIZES), VOCABULARY, 0)
    ids_BT = torch.tensor([[3, 1, 4, 1, 5]])
    first_BTD = model.first_norm(model.embedding(ids_BT))
    assert torch.allclose(model.hidden(Batch(ids_BT)).hidden_BTD, model.norm(first_BTD), atol=1e-6)
    assert torch.equal(model.logits(first_BTD[0]), torch.zeros(5, VOCABULARY))
    untouched: Any = create(ModelSettings(**SIZES, without=("zero-outputs",)), VOCABULARY, 0)
    assert untouched.blocks[0].attention.output.weight.abs().min() > 0


def test_lookups_cost_no_products() -> None:
    sizes = [count(create(ModelSettings(**SIZES, order=order), VOCABULARY, 0)) for order in (1, 4)]
    assert sizes[0].flops_forward == sizes[1].flops_forward and sizes[0].parameters < sizes[1].parameters
    assert sizes[1].by_part["n-grams"] == 16 * (11**2 + 11**3 + 11**4)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"value_layers": [2, 0]}, "'value_layers' must be a list of numbers from 0 to 2 in order"),
        ({"value_layers": [3]}, "'value_layers' must be a list of numbers from 0 to 2"),
        ({"ngram_orders": [1]}, "'ngram_orders' must be a list of numbers from 2 to 10"),
        ({"head_width": 7}, "head_width 7 even"),
        ({"sliding_window": 8}, "config.json has 'sliding_window' = 8, which nextword does not know"),
    ],
)
def test_a_wrong_config_is_named(changes: dict, said: str) -> None:
    with pytest.raises(CheckpointError, match=said.replace("[", r"\[").replace("(", r"\(")):
        nextword.build({**drawn().config, **changes})
