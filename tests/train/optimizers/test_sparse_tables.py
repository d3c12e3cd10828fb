"""Rows that nobody looked up stay; the others change as AdamW's, with the step's own t."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from nextword.models.checkpoint import load_model
from nextword.models.create import create
from nextword.models.settings import ModelSettings
from nextword.train import pretrain as training
from nextword.train.loop import gradients
from nextword.train.optimizer import find
from nextword.train.pretrain import Text
from nextword.train.settings import TrainSettings

Steps = Callable[..., dict[str, np.ndarray]]
ROLES = {"table": "table", "matrix": "hidden"}
SETTINGS = {"steps": 2, "batch": 4, "length": 12, "precision": "fp32"}


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


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize("sparse", [False, True])
def test_tables_have_a_rate_of_their_own(steps: Steps, draw: np.random.Generator, optimizer: str, sparse: bool) -> None:
    start = {"table": draw.normal(size=(6, 4)), "matrix": draw.normal(size=(4, 4))}
    gradients = {name: [draw.normal(size=value.shape)] for name, value in start.items()}
    settings = {"optimizer": optimizer, "weight_decay": 0.0, "sparse_tables": sparse}
    one, five = (steps(start, gradients, ROLES, learning_rate=0.1, table_rate=rate, **settings) for rate in (None, 0.5))
    np.testing.assert_allclose(five["table"] - start["table"], 5 * (one["table"] - start["table"]), atol=2e-6)
    np.testing.assert_array_equal(five["matrix"], one["matrix"])


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


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("micro_batch", [4, 2])
def test_gradients_of_looked_up_rows_train_as_dense_ones(
    pretrain: Callable[..., object], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, precision: str, micro_batch: int
) -> None:
    sizes = {"width": 16, "depth": 2, "heads": 2, "order": 3}
    changes = {"family": "nextword", "sizes": sizes, "sparse_tables": True, "micro_batch": micro_batch}
    pretrain(tmp_path / "sparse", precision=precision, **changes)
    monkeypatch.setattr(training, "look_up_sparsely", lambda model: None)
    pretrain(tmp_path / "dense", precision=precision, **changes)
    found, wanted = (load_model(tmp_path / name / "model").state_dict() for name in ("sparse", "dense"))
    for name, tensor in wanted.items():
        close = {"fp32": 1e-5, "bf16": 0.02}[precision]  # sums of a row's gradients in bf16, in another order
        assert (found[name] - tensor).abs().max() <= close * tensor.abs().max(), name


def test_a_step_holds_no_gradient_as_large_as_the_table(text: Text) -> None:
    model = create(ModelSettings(family="nextword", width=16, depth=1, heads=2, order=4, buckets=5000), 16, 0)
    settings = TrainSettings(**{**SETTINGS, "sparse_tables": True})
    run = training.assemble(model, text, settings, "fp32")
    gradients(run, run.feed().take(4, 12))
    found = run.weights.gradients()
    tables = [name for name, weight in run.weights.masters.items() if weight.grad is not None and weight.grad.is_sparse]
    assert len(tables) == 5  # the embedding, values, and n-grams of 2, 3 and 4
    assert max(len(gradient) for gradient in found) <= 64  # of 48 tokens at most, or of a matrix
