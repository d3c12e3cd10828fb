"""What turns gradients into updates: one file each in `train/optimizers/`, found by name.

PyTorch's own optimizer classes are not used: making one imports its compiler, three seconds at every start.
"""

from collections.abc import Callable, Mapping
from typing import Protocol, cast

from torch import Tensor

from nextword.core.registry import part
from nextword.train.roles import Role
from nextword.train.settings import TrainSettings


class Optimizer(Protocol):
    """Owns named fp32 tensors and changes them by their gradients; what it remembers is named tensors too."""

    def step(self, rate: float) -> None:
        """One update with learning rate `rate`; a tensor without a gradient stays."""
        ...

    def state(self) -> dict[str, Tensor]:
        """What it remembers: the tensors themselves, not copies, the same names from the first step on."""
        ...


# masters by name, settings, and what each of them does in the model
Make = Callable[[Mapping[str, Tensor], TrainSettings, Mapping[str, Role]], Optimizer]


def find(name: str) -> Make:
    """What makes the optimizer called `name`; SettingsError, naming the nearest, when there is none."""
    return cast(Make, part("nextword.train.optimizers", name, "optimizer"))
