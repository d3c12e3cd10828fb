"""Adafactor against algorithms 4 and 5 of the paper, with sums as they are written there, in fp64."""

from collections.abc import Callable

import numpy as np
import pytest

Steps = Callable[..., dict[str, np.ndarray]]


def rms(x: np.ndarray) -> float:
    return float(np.sqrt((x**2).mean()))


def by_hand(weight: np.ndarray, gradients: list[np.ndarray], decay: float) -> np.ndarray:
    """Rate rho = 0.1; decay times the rate."""
    rows, columns = (np.zeros(weight.shape[0]), np.zeros(weight.shape[-1]))
    v = np.zeros_like(weight)
    for t, g in enumerate(gradients, 1):
        b = 1 - t**-0.8
        if weight.ndim == 2:
            rows = b * rows + (1 - b) * (g**2 + 1e-30).sum(1)
            columns = b * columns + (1 - b) * (g**2 + 1e-30).sum(0)
            v = np.outer(rows, columns) / rows.sum()
        else:
            v = b * v + (1 - b) * (g**2 + 1e-30)
        u = g / np.sqrt(v)
        u = u / max(1.0, rms(u))
        weight = weight - 0.1 * max(1e-3, rms(weight)) * u - 0.1 * decay * weight
    return weight


@pytest.mark.parametrize("size", [1.0, 1e-5])  # small weights move by epsilon 2
def test_by_hand(steps: Steps, draw: np.random.Generator, size: float) -> None:
    start = {"matrix": size * draw.normal(size=(7, 5)), "gain": size * draw.normal(size=5)}
    gradients = {
        name: [draw.normal(size=value.shape) * scale for scale in (1, 3, 0.1, 20)] for name, value in start.items()
    }
    found = steps(start, gradients, {"matrix": "hidden", "gain": "vector"}, optimizer="adafactor", weight_decay=0.5)
    for name, decay in (("matrix", 0.5), ("gain", 0.0)):
        np.testing.assert_allclose(found[name], by_hand(start[name], gradients[name], decay), atol=2e-6 * size + 1e-8)


def test_a_zero_gradient_changes_nothing(steps: Steps) -> None:
    start = {"matrix": np.ones((3, 4)), "gain": np.ones(3)}
    gradients = {name: [np.zeros_like(value)] * 2 for name, value in start.items()}
    found = steps(start, gradients, {"matrix": "hidden", "gain": "vector"}, optimizer="adafactor", weight_decay=0.0)
    for name, value in start.items():
        np.testing.assert_array_equal(found[name], value)
