"""AdamW against the paper's update worked out in fp64, and which tensors shrink."""

import numpy as np
import pytest
import torch

from nextword.train.optimizers.adamw import AdamW, fused, plain
from nextword.train.settings import TrainSettings

SETTINGS = TrainSettings(betas=(0.8, 0.9), eps=1e-4, weight_decay=0.5)
ROLES = {"matrix": "hidden", "gain": "vector", "used": "hidden", "wide": "hidden"}


def by_hand(weight: np.ndarray, gradients: list[np.ndarray], decay: float, factor: float = 1.0) -> np.ndarray:
    """Loshchilov and Hutter 2019, algorithm 2, where the decay is times the learning rate."""
    m = v = np.zeros_like(weight)
    for t, g in enumerate(gradients, 1):
        m = 0.8 * m + 0.2 * g
        v = 0.9 * v + 0.1 * g**2
        m_hat, v_hat = m / (1 - 0.8**t), v / (1 - 0.9**t)
        weight = weight - 0.1 * (factor * m_hat / (np.sqrt(v_hat) + 1e-4) + decay * weight)
    return weight


@pytest.mark.parametrize("factors", [None, {"matrix": 0.25, "gain": 1.0, "wide": 1.0}], ids=["usual", "factors"])
@pytest.mark.parametrize("update", [fused, plain])
def test_three_steps_by_hand(update: object, factors: dict[str, float] | None) -> None:
    draw = np.random.default_rng(0)
    start = {"matrix": draw.normal(size=(3, 5)), "gain": draw.normal(size=5), "wide": draw.normal(size=(2, 4))}
    gradients = {name: [draw.normal(size=value.shape) for _ in range(3)] for name, value in start.items()}
    tensors = {name: torch.tensor(value, dtype=torch.float32) for name, value in start.items()}
    adamw = AdamW(tensors, SETTINGS, ROLES, factors)
    adamw.update = update
    for step in range(3):
        for name, tensor in tensors.items():
            tensor.grad = torch.tensor(gradients[name][step], dtype=torch.float32)
        adamw.step(0.1)
    for name, decay in (("matrix", 0.5), ("gain", 0.0), ("wide", 0.5)):  # a vector does not shrink
        expected = by_hand(start[name], gradients[name], decay, (factors or {}).get(name, 1.0))
        np.testing.assert_allclose(tensors[name].numpy(), expected, atol=1e-6)


def test_a_tensor_without_gradient_stays() -> None:
    tensors = {"used": torch.ones(2, 2), "gain": torch.ones(3)}
    tensors["gain"].grad = torch.ones(3)
    AdamW(tensors, SETTINGS, ROLES).step(0.1)
    assert torch.equal(tensors["used"], torch.ones(2, 2)) and (tensors["gain"] < 1).all()


def test_the_state_is_what_it_remembers() -> None:
    tensors = {"gain": torch.ones(3)}
    adamw = AdamW(tensors, SETTINGS, ROLES)
    before = adamw.state()
    tensors["gain"].grad = torch.ones(3)
    adamw.step(0.1)
    assert before.keys() == adamw.state().keys() == {"mean.gain", "square.gain", "time"}
    assert before["time"] == 1 and torch.allclose(before["mean.gain"], torch.full((3,), 0.2))
