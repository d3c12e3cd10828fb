"""Steps of an optimizer on made-up tensors, for tests that work the same steps out by hand."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from nextword.train.optimizer import find
from nextword.train.settings import TrainSettings

RATE = 0.1
Steps = Callable[..., dict[str, np.ndarray]]


@pytest.fixture
def steps() -> Steps:
    """`steps(start, gradients, roles, **settings)`: the tensors after a step for each gradient, at rate 0.1."""

    def run(
        start: dict[str, np.ndarray], gradients: dict[str, list[np.ndarray]], roles: dict[str, str], **settings: object
    ) -> dict[str, np.ndarray]:
        tensors = {name: torch.tensor(value, dtype=torch.float32) for name, value in start.items()}
        chosen = TrainSettings(**{"learning_rate": RATE, **settings})
        optimizer = find(chosen.optimizer)(tensors, chosen, roles)
        names = set(optimizer.state())
        for step in range(len(next(iter(gradients.values())))):
            for name, tensor in tensors.items():
                tensor.grad = torch.tensor(gradients[name][step], dtype=torch.float32)
            optimizer.step(RATE)
        assert set(optimizer.state()) == names
        return {name: tensor.numpy() for name, tensor in tensors.items()}

    return run


@pytest.fixture
def draw() -> np.random.Generator:
    return np.random.default_rng(0)
