"""Lion, and decay that is cautious, against the papers' updates worked out in fp64."""

from collections.abc import Callable

import numpy as np
import pytest

Steps = Callable[..., dict[str, np.ndarray]]


def lion(weight: np.ndarray, gradients: list[np.ndarray], decay: float, cautious: bool) -> np.ndarray:
    """Chen et al. 2023, algorithm 2, rate 0.1; the decay where Chen et al. 2025, algorithm 1, has it."""
    m = np.zeros_like(weight)
    for g in gradients:
        u = np.sign(0.8 * m + 0.2 * g)
        weight = weight - 0.1 * (u + decay * weight * ((u * weight >= 0) if cautious else 1))
        m = 0.9 * m + 0.1 * g
    return weight


def adamw(weight: np.ndarray, gradients: list[np.ndarray], decay: float) -> np.ndarray:
    """AdamW with cautious decay: Chen et al. 2025, algorithm 1, with Adam's update."""
    m = v = np.zeros_like(weight)
    for t, g in enumerate(gradients, 1):
        m, v = 0.8 * m + 0.2 * g, 0.9 * v + 0.1 * g**2
        u = m / (1 - 0.8**t) / (np.sqrt(v / (1 - 0.9**t)) + 1e-8)
        weight = weight - 0.1 * (u + decay * weight * (u * weight >= 0))
    return weight


@pytest.mark.parametrize("cautious", [False, True])
def test_lion_by_hand(steps: Steps, draw: np.random.Generator, cautious: bool) -> None:
    start = {"matrix": draw.normal(size=(7, 5)), "gain": draw.normal(size=5)}
    gradients = {name: [draw.normal(size=value.shape) for _ in range(4)] for name, value in start.items()}
    found = steps(start, gradients, {"matrix": "hidden", "gain": "vector"}, optimizer="lion", betas=(0.8, 0.9),
                  weight_decay=0.5, cautious_decay=cautious)  # fmt: skip
    for name, decay in (("matrix", 0.5), ("gain", 0.0)):
        np.testing.assert_allclose(found[name], lion(start[name], gradients[name], decay, cautious), atol=2e-6)


def test_cautious_adamw_by_hand(steps: Steps, draw: np.random.Generator) -> None:
    start = {"matrix": draw.normal(size=(7, 5)), "gain": draw.normal(size=5)}
    start["matrix"][0] = 0.0
    gradients = {name: [draw.normal(size=value.shape) for _ in range(4)] for name, value in start.items()}
    found = steps(start, gradients, {"matrix": "table", "gain": "vector"}, betas=(0.8, 0.9), weight_decay=0.5,
                  cautious_decay=True)  # fmt: skip
    for name, decay in (("matrix", 0.5), ("gain", 0.0)):
        np.testing.assert_allclose(found[name], adamw(start[name], gradients[name], decay), atol=2e-6)
