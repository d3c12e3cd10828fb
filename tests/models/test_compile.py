"""torch.compile can follow every kind of transformer from end to end, and what it follows is the same."""

from typing import Any

import pytest
import torch

from nextword.models.base import Batch
from nextword.models.create import create
from nextword.models.settings import ModelSettings


@pytest.mark.parametrize("family", ["llama", "gpt2", "bert", "t5", "nextword", "gemma3_text", "olmo2"])
def test_no_part_is_left_out(family: str) -> None:
    model: Any = create(ModelSettings(family=family, width=32, depth=1, heads=2), 50, seed=0, eos_id=0).train()
    ids_BT = torch.arange(2, 26).view(2, 12)
    source = Batch(ids_BT.flip(0)) if family == "t5" else None

    def hidden(ids_BT: torch.Tensor) -> torch.Tensor:
        return model.hidden(Batch(ids_BT, source=source)).hidden_BTD

    traced = torch.compile(hidden, backend="eager", fullgraph=True)
    assert torch.allclose(traced(ids_BT), hidden(ids_BT), atol=1e-5)
