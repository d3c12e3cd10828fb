"""muP: the factors of table 3, fresh weights that fit the width, and the paper's coordinate check."""

import pytest
import torch
from torch import Tensor

from nextword.core.errors import SettingsError
from nextword.models.base import Batch
from nextword.models.create import create
from nextword.models.settings import ModelSettings
from nextword.models.transformer import Transformer
from nextword.train import rates
from nextword.train.optimizers.adamw import AdamW
from nextword.train.roles import roles
from nextword.train.settings import TrainSettings

BASE, VOCABULARY, HEAD_WIDTH = 64, 64, 16
WIDTHS = (64, 128, 256)
MUP, USUAL = TrainSettings(mup_width=BASE, weight_decay=0.0), TrainSettings(weight_decay=0.0)


def fresh(width: int, settings: TrainSettings, family: str = "llama", tied: bool = False) -> Transformer:
    sizes = ModelSettings(family=family, width=width, depth=2, heads=max(1, width // HEAD_WIDTH), tied=tied)
    model = create(sizes, VOCABULARY, 0)
    rates.fit(model, settings)
    return model


def optimizer(model: Transformer, settings: TrainSettings) -> AdamW:
    names = dict(model.named_parameters())
    known = roles(model, names)
    if settings.mup_width is None:
        return AdamW(names, settings, known)
    return AdamW(names, settings, known, rates.factors(known, settings.mup_width, rates.width(model)))


def changes(family: str, settings: TrainSettings) -> list[tuple[float, float]]:
    """For each width, how far one step moves the stream after the last block, and the scores (root mean squares)."""
    ids_BT = torch.randint(0, VOCABULARY, (4, 33), generator=torch.Generator().manual_seed(7))
    found = []
    for width in WIDTHS:
        model, stream = fresh(width, settings, family), []
        model.blocks[-1].register_forward_hook(lambda block, given, out, stream=stream: stream.append(out.detach()))
        before, scores = look(model, ids_BT, stream)
        (-model.score(Batch(ids_BT[:, :-1]), ids_BT[:, 1:]).mean()).backward()
        optimizer(model, settings).step(1e-3)
        after, moved = look(model, ids_BT, stream)
        found.append((size(after - before), size(moved - scores)))
    return found


@torch.no_grad()
def look(model: Transformer, ids_BT: Tensor, stream: list[Tensor]) -> tuple[Tensor, Tensor]:
    hidden_BTD = model.hidden(Batch(ids_BT[:, :-1])).hidden_BTD
    return stream[-1], model.logits(hidden_BTD.flatten(0, 1))


def size(x: Tensor) -> float:
    return x.square().mean().sqrt().item()


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_a_step_changes_models_of_every_width_alike(family: str) -> None:
    """The coordinate check: with muP what a step changes does not grow with the width; without it does, about as D."""
    (stream, scores), *_, (wide_stream, wide_scores) = changes(family, MUP)
    assert 0.8 < wide_stream / stream < 1.25 and 0.6 < wide_scores / scores < 1.4
    (stream, scores), *_, (wide_stream, wide_scores) = changes(family, USUAL)
    assert wide_stream / stream > 6 and wide_scores / scores > 4


def test_fresh_weights_against_table_3() -> None:
    """Four times as wide: hidden matrices half as spread, the output a quarter, tables and vectors as ever."""
    usual, scaled = (dict(fresh(256, settings).named_parameters()) for settings in (USUAL, MUP))
    shares = {"hidden": 0.5, "output": 0.25, "table": 1.0, "vector": 1.0}
    known = roles(fresh(256, MUP), scaled)
    assert set(known.values()) == set(shares)
    for name, weight in scaled.items():
        torch.testing.assert_close(weight, usual[name] * shares[known[name]], msg=name)


def test_at_the_width_itself_nothing_changes() -> None:
    usual, same = fresh(BASE, USUAL), fresh(BASE, MUP)
    for model, settings in ((usual, USUAL), (same, MUP)):
        for weight in model.parameters():
            weight.grad = torch.ones_like(weight)
        optimizer(model, settings).step(0.1)
    for left, right in zip(usual.parameters(), same.parameters(), strict=True):
        assert torch.equal(left, right)


@pytest.mark.parametrize(
    ("family", "tied", "more", "message"),
    [
        ("llama", True, {}, "add --model.tied=false"),
        ("lstm", False, {}, "is for plain decoders"),
        ("nextword", False, {}, "is for plain decoders"),
        ("llama", False, {"optimizer": "sgd"}, "is for adamw, not 'sgd'"),
    ],
)
def test_refused_where_it_cannot_be_right(family: str, tied: bool, more: dict, message: str) -> None:
    model = create(ModelSettings(family=family, width=16, depth=1, tied=tied), VOCABULARY, 0)
    with pytest.raises(SettingsError, match=message):
        rates.check(model, TrainSettings(mup_width=8, **more))
