"""Muon against its iteration in fp64, against the polar factor, and against PyTorch's own."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch

from nextword.train import orthogonal
from nextword.train.optimizers.muon import Muon
from nextword.train.orthogonal import Orthogonaliser
from nextword.train.settings import TrainSettings

Steps = Callable[..., dict[str, np.ndarray]]
CPU = torch.device("cpu")
SHAPES = [(8, 8), (6, 8), (5, 12), (12, 5), (24, 8), (1, 9), (9, 1)]  # both forms of the iteration, wide and tall


@pytest.fixture(autouse=True)
def in_fp32(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """On a CPU with bf16 instructions too."""
    fast = "in_bf16" in request.fixturenames
    monkeypatch.setattr(orthogonal, "fast_bfloat16", lambda: fast)


@pytest.fixture
def in_bf16() -> None:
    """As if products in bf16 were fast."""


def newton_schulz(x: np.ndarray, steps: int = 5) -> np.ndarray:
    """Jordan et al. 2024, in fp64."""
    a, b, c = 3.4445, -4.7750, 2.0315
    x = x / max(np.linalg.norm(x), 1e-12)
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x


def orthogonalised(*matrices: np.ndarray, steps: int = 5) -> np.ndarray:
    make = Orthogonaliser(len(matrices), *matrices[0].shape, steps, CPU)
    return make(torch.tensor(np.stack(matrices), dtype=torch.float32)).clone().numpy()


@pytest.mark.parametrize("steps", [1, 2, 5])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_iteration_is_the_papers(draw: np.random.Generator, shape: tuple[int, int], steps: int) -> None:
    matrices = [draw.normal(size=shape) * size for size in (1.0, 1e-6, 1e3)]
    found = orthogonalised(*matrices, steps=steps)
    for matrix, one in zip(matrices, found, strict=True):
        np.testing.assert_allclose(one, newton_schulz(matrix, steps), atol=1e-5)
        np.testing.assert_allclose(one, orthogonalised(matrix, steps=steps)[0], atol=1e-6)  # batched = single


@pytest.mark.parametrize("shape", [(64, 64), (32, 96), (96, 32)], ids=str)
def test_it_is_near_the_polar_factor(draw: np.random.Generator, shape: tuple[int, int]) -> None:
    u, _, v = np.linalg.svd(draw.normal(size=shape), full_matrices=False)
    found = orthogonalised(u * np.geomspace(1, 0.02, len(v)) @ v)[0]  # all above 1/500 of the norm
    in_basis = u.T @ found @ v.T
    singular = np.diag(in_basis)
    assert singular.min() > 0.65 and singular.max() < 1.21
    np.testing.assert_allclose(in_basis, np.diag(singular), atol=2e-5)  # the same directions as U Vᵀ


@pytest.mark.usefixtures("in_bf16")
@pytest.mark.parametrize("shape", [(32, 32), (16, 48), (48, 16)], ids=str)
def test_bf16_is_near(draw: np.random.Generator, shape: tuple[int, int]) -> None:
    matrix = draw.normal(size=shape)
    found = orthogonalised(matrix)[0]
    assert found.dtype == np.float32
    assert np.linalg.norm(found - newton_schulz(matrix)) < 0.1 * np.linalg.norm(found)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_without_rank(draw: np.random.Generator, shape: tuple[int, int]) -> None:
    one, zero = np.outer(draw.normal(size=shape[0]), draw.normal(size=shape[1])), np.zeros(shape)
    found = orthogonalised(one, zero, one * 1e-30)
    assert np.isfinite(found).all() and not found[1].any()
    singular = np.linalg.svd(found[0], compute_uv=False)
    assert 0.65 < singular[0] < 1.21 and singular[1:].max(initial=0) < 1e-2


def by_hand(weight: np.ndarray, gradients: list[np.ndarray], normalised: bool, cautious: bool, factor: float,
            rate: float) -> np.ndarray:  # fmt: skip
    """Momentum 0.9, decay 0.5."""
    m, square = np.zeros_like(weight), np.zeros((len(weight), 1))
    for g in gradients:
        m = 0.9 * m + 0.1 * g
        o = newton_schulz(0.9 * m + 0.1 * g)
        if normalised:  # Li et al. 2025, algorithm 1
            square = 0.95 * square + 0.05 * (o**2).mean(1, keepdims=True)
            rows = o / np.sqrt(square)
            o = rows * np.linalg.norm(o) / np.linalg.norm(rows)
        weight = weight - rate * (factor * o + 0.5 * weight * ((o * weight >= 0) if cautious else 1))
    return weight


@pytest.mark.parametrize(
    ("normalised", "cautious", "scale"),
    [(False, False, "moonlight"), (False, False, "shape"), (True, False, "shape"), (False, True, "moonlight"),
     (True, True, "moonlight")],
)  # fmt: skip
def test_by_hand(steps: Steps, draw: np.random.Generator, normalised: bool, cautious: bool, scale: str) -> None:
    shapes = {"a": (6, 8), "b": (6, 8), "tall": (12, 5), "row": (1, 7)}
    start = {name: draw.normal(size=shape) for name, shape in shapes.items()} | {"gain": draw.normal(size=4)}
    gradients = {name: [draw.normal(size=value.shape) for _ in range(4)] for name, value in start.items()}
    found = steps(start, gradients, dict.fromkeys(shapes, "hidden") | {"gain": "vector"}, optimizer="muon",
                  muon_normalised=normalised, cautious_decay=cautious, muon_scale=scale, muon_momentum=0.9,
                  weight_decay=0.5)  # fmt: skip
    for name, (rows, columns) in shapes.items():
        moonlight = 0.2 * math.sqrt(max(rows, columns))
        factor, rate = (moonlight, 0.1) if scale == "moonlight" else (math.sqrt(max(1, rows / columns)), 0.02)
        expected = by_hand(start[name], gradients[name], normalised, cautious, factor, rate)
        np.testing.assert_allclose(found[name], expected, atol=2e-5)
    plain = steps({"gain": start["gain"]}, {"gain": gradients["gain"]}, {"gain": "vector"}, optimizer="adamw")
    np.testing.assert_array_equal(found["gain"], plain["gain"])


@pytest.mark.usefixtures("in_bf16")
@pytest.mark.parametrize(("scale", "theirs"), [("moonlight", "match_rms_adamw"), ("shape", "original")])
def test_pytorchs_muon(steps: Steps, draw: np.random.Generator, scale: str, theirs: str) -> None:
    """Theirs computes in bf16; one step from the same start, since bf16 drifts."""
    start, gradient = draw.normal(size=(24, 16)), draw.normal(size=(24, 16))
    tensor = torch.tensor(start, dtype=torch.float32, requires_grad=True)
    tensor.grad = torch.tensor(gradient, dtype=torch.float32)
    torch.optim.Muon([tensor], lr=0.1, weight_decay=0.5, adjust_lr_fn=theirs).step()
    found = steps({"a": start}, {"a": [gradient]}, {"a": "hidden"}, optimizer="muon", weight_decay=0.5, muon_rate=0.1,
                  muon_scale=scale)["a"]  # fmt: skip
    moved = np.linalg.norm(found - start)
    assert np.linalg.norm(found - tensor.detach().numpy()) < 0.02 * moved


def test_every_second_step_moves_twice_as_far(steps: Steps, draw: np.random.Generator) -> None:
    start, gradients = draw.normal(size=(4, 6)), [draw.normal(size=(4, 6)) for _ in range(3)]
    settings = {"optimizer": "muon", "muon_every": 2, "weight_decay": 0.5, "muon_momentum": 0.9}
    first = steps({"a": start}, {"a": gradients[:1]}, {"a": "hidden"}, **settings)["a"]
    np.testing.assert_array_equal(first, start.astype(np.float32))
    m = 0.9 * (0.1 * gradients[0]) + 0.1 * gradients[1]
    update = 0.2 * math.sqrt(6) * newton_schulz(0.9 * m + 0.1 * gradients[1])
    for count in (2, 3):
        found = steps({"a": start}, {"a": gradients[:count]}, {"a": "hidden"}, **settings)["a"]
        np.testing.assert_allclose(found, start - 2 * 0.1 * (update + 0.5 * start), atol=1e-5)


def test_the_rate_follows_the_schedule(draw: np.random.Generator) -> None:
    """At half the learning rate, hidden matrices move at half of theirs."""
    moved = []
    for rate in (0.1, 0.05):
        tensor = torch.zeros(4, 4)
        tensor.grad = torch.tensor(np.random.default_rng(1).normal(size=(4, 4)), dtype=torch.float32)
        settings = TrainSettings(optimizer="muon", learning_rate=0.1, muon_rate=0.7, muon_scale="shape")
        Muon({"a": tensor}, settings, {"a": "hidden"}).step(rate)
        moved.append(tensor)
    expected = newton_schulz(np.random.default_rng(1).normal(size=(4, 4)))
    np.testing.assert_allclose(moved[0], -0.7 * expected, atol=1e-5)
    torch.testing.assert_close(moved[1], moved[0] / 2)


def test_a_matrix_without_gradient_stays(draw: np.random.Generator) -> None:
    tensors = {name: torch.ones(3, 4) for name in "abc"}
    muon = Muon(tensors, TrainSettings(optimizer="muon", muon_normalised=True), dict.fromkeys("abc", "hidden"))
    for name in "ac":
        tensors[name].grad = torch.tensor(draw.normal(size=(3, 4)), dtype=torch.float32)
    muon.step(0.1)
    assert torch.equal(tensors["b"], torch.ones(3, 4)) and not muon.state()["momentum.b"].any()
    for name in "ac":
        alone = torch.ones(3, 4)
        alone.grad = tensors[name].grad
        Muon({"x": alone}, TrainSettings(optimizer="muon", muon_normalised=True), {"x": "hidden"}).step(0.1)
        torch.testing.assert_close(tensors[name], alone)
        torch.testing.assert_close(muon.state()[f"momentum.{name}"], 0.05 * tensors[name].grad)


def test_a_zero_gradient_moves_nothing() -> None:
    tensor = torch.ones(3, 4)
    tensor.grad = torch.zeros(3, 4)
    settings = TrainSettings(optimizer="muon", weight_decay=0.0, muon_normalised=True)
    Muon({"a": tensor}, settings, {"a": "hidden"}).step(1)
    assert torch.equal(tensor, torch.ones(3, 4))
