"""Rows that nobody looked up stay; the others change as AdamW's, with the step's own t."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from nextword.train.optimizer import find
from nextword.train.settings import TrainSettings

Steps = Callable[..., dict[str, np.ndarray]]
ROLES = {"table": "table", "matrix": "hidden"}


def by_hand(weight: np.ndarray, gradients: list[np.ndarray], cautious: bool) -> np.ndarray:
    """AdamW in fp64, rate 0.1, decay 0.5, row by row: a row without gradient is passed over, t goes on."""
    weight = weight.copy()
    for row in range(len(weight)):
        w = weight[row]
        m = v = np.zeros_like(w)
        for t, g in enumerate((gradient[row] for gradient in gradients), 1):
            if not g.any():
                continue
            m, v = 0.8 * m + 0.2 * g, 0.9 * v + 0.1 * g**2
            u = m / (1 - 0.8**t) / (np.sqrt(v / (1 - 0.9**t)) + 1e-8)
            w = w - 0.1 * (u + 0.5 * w * ((u * w >= 0) if cautious else 1))
        weight[row] = w
    return weight


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize("cautious", [False, True])
def test_by_hand(steps: Steps, draw: np.random.Generator, optimizer: str, cautious: bool) -> None:
    start = {"table": draw.normal(size=(6, 4)), "matrix": draw.normal(size=(4, 4))}
    gradients = {name: [draw.normal(size=value.shape) for _ in range(5)] for name, value in start.items()}
    for step, rows in enumerate(([0, 1], [1, 2, 3], [], [0, 2], [0, 1, 2, 3, 4, 5])):
        untouched = [row for row in range(6) if row not in rows]
        gradients["table"][step][untouched] = 0.0
    settings = {"optimizer": optimizer, "betas": (0.8, 0.9), "weight_decay": 0.5, "cautious_decay": cautious}
    found = steps(start, gradients, ROLES, sparse_tables=True, **settings)
    np.testing.assert_allclose(found["table"], by_hand(start["table"], gradients["table"], cautious), atol=2e-6)
    dense = steps(start, gradients, ROLES, **settings)
    np.testing.assert_array_equal(found["matrix"], dense["matrix"])
    assert np.abs(found["table"] - dense["table"]).max() > 0.01


def test_only_the_rows_of_a_step_are_written() -> None:
    """Whatever else the table and the means hold, not even a NaN spreads."""
    table = torch.ones(5, 3)
    table.grad = torch.zeros(5, 3)
    table.grad[2] = torch.tensor([0.0, -1e-15, 0.0])
    adamw = find("adamw")({"table": table}, TrainSettings(sparse_tables=True), {"table": "table"})
    state = adamw.state()
    table[4] = state["mean.table"][4] = torch.nan
    adamw.step(0.1)
    assert table[4].isnan().all() and table[:2].eq(1).all() and (table[2] < 1).all()
