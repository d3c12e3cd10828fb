"""What every test against transformers does: draw all tensors anew, compare by the parity rule, go through a folder."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from nextword.models.base import Batch
from nextword.models.checkpoint import load_model, save_model

TOLERANCE = 1e-5


class Parity:
    """Ours against theirs."""

    def drawn(self, model: Any, seed: int, std: float = 0.5) -> Any:
        """transformers' model with every tensor drawn anew (fresh norms and biases hide swaps)."""
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for weight in model.parameters():
                weight.normal_(0, std, generator=generator)
        return model.eval()

    def ids(self, vocabulary: int, rows: int, time: int, seed: int) -> torch.Tensor:
        return torch.randint(0, vocabulary, (rows, time), generator=torch.Generator().manual_seed(seed))

    @torch.no_grad()
    def logits_BTV(self, model: Any, batch: Batch) -> torch.Tensor:
        hidden_BTD = model.hidden(batch).hidden_BTD
        return model.logits(hidden_BTD.flatten(0, 1)).unflatten(0, hidden_BTD.shape[:2])

    def same(self, found: torch.Tensor, wanted: torch.Tensor) -> None:
        """max|Δ| ≤ 1e-5 · max|wanted|."""
        assert found.shape == wanted.shape
        assert (found - wanted).abs().max() <= TOLERANCE * wanted.abs().max()

    def round_trip(self, theirs: Any, check: Callable[[Any], None]) -> None:
        """Theirs saved, read by us, checked; then saved by us byte for byte, and read by theirs as it was."""
        with tempfile.TemporaryDirectory() as place:
            first, again = Path(place) / "theirs", Path(place) / "ours"
            theirs.save_pretrained(first)
            ours = load_model(first)
            check(ours)
            save_model(ours, again)
            for name in ("model.safetensors", "config.json"):
                assert (again / name).read_bytes() == (first / name).read_bytes(), name
            back = type(theirs).from_pretrained(again)
            for name, tensor in theirs.state_dict().items():
                assert torch.equal(back.state_dict()[name], tensor), name

    def ours_of(self, theirs: Any) -> Any:
        with tempfile.TemporaryDirectory() as place:
            theirs.save_pretrained(place)
            return load_model(place)


@pytest.fixture(scope="session")
def parity() -> Parity:
    return Parity()
