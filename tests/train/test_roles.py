"""What each weight of every kind of model is taken for."""

from collections import Counter

import pytest

from nextword.models.create import create
from nextword.models.settings import ModelSettings
from nextword.train.roles import roles

SIZES = {"width": 16, "depth": 2}


@pytest.mark.parametrize(
    ("family", "more", "expected"),
    [
        ("llama", {"heads": 2}, {"hidden": 14, "table": 1, "vector": 5}),  # 7 matrices and 2 norms a layer, 1 norm
        ("llama", {"heads": 2, "tied": False}, {"hidden": 14, "table": 1, "vector": 5, "output": 1}),
        ("gpt2", {"heads": 2}, {"hidden": 12, "table": 2, "vector": 22}),  # tokens and positions
        ("lstm", {}, {"hidden": 4, "table": 1, "vector": 4}),
        ("lstm", {"tied": False}, {"hidden": 4, "table": 1, "vector": 4, "output": 1}),
    ],
)
def test_counts_by_family(family: str, more: dict, expected: dict) -> None:
    model = create(ModelSettings(family=family, **SIZES, **more), 32, 0)
    found = roles(model, dict(model.named_parameters()))
    assert Counter(found.values()) == expected
    assert found["embedding.weight"] == "table"


def test_an_encoder_has_types_and_positions() -> None:
    model = create(ModelSettings(family="bert", heads=2, **SIZES), 32, 0)
    found = roles(model, dict(model.named_parameters()))
    assert [name for name, role in found.items() if role == "table"] == [
        "embedding.weight", "embedding.positions.weight", "embedding.types.weight",
    ]  # fmt: skip
    assert found["head.bias"] == "vector" and found["head.prepare.dense.weight"] == "hidden"
    assert found["heads.next_sentence.classes.weight"] == "output"
    assert found["heads.next_sentence.prepare.dense.weight"] == "hidden"
