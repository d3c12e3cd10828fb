"""Random tensors in these tests are the same in every run."""

import pytest
import torch


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Seeds PyTorch's global generator, from which `torch.randn` draws."""
    torch.manual_seed(0)
