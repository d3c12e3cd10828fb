"""Lion: every number moves by the same amount, in the direction of a mean's sign (Chen et al. 2023).

u = sign(b1 m + (1 - b1) g);  m = b2 m + (1 - b2) g
w = w (1 - lr * decay) - lr * u

Found by a search through programs ("Symbolic Discovery of Optimization Algorithms"). It remembers one mean where AdamW
remembers two. Since every number moves by the full rate, the authors take a rate 3 to 10 times smaller than AdamW's and
a decay as much larger, and betas of (0.9, 0.99), the default here.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from nextword.train.decay import shrink
from nextword.train.roles import Role
from nextword.train.settings import TrainSettings

HONOURS = frozenset({"betas", "weight_decay", "cautious_decay"})
WHOLE = False


class Lion:
    """`mean` is m, by name."""

    def __init__(self, parameters: Mapping[str, Tensor], settings: TrainSettings, roles: Mapping[str, Role]) -> None:
        self.parameters, self.settings, self.roles = parameters, settings, roles
        self.mean = {name: torch.zeros_like(tensor) for name, tensor in parameters.items()}

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """One update of every tensor that has a gradient."""
        (b1, b2), cautious = self.settings.betas, self.settings.cautious_decay
        for decay, matrices in ((self.settings.weight_decay, True), (0.0, False)):
            found = [
                (tensor, tensor.grad, self.mean[name])
                for name, tensor in self.parameters.items()
                if tensor.grad is not None and (self.roles[name] != "vector") == matrices
            ]
            if found:
                weights, gradients, means = map(list, zip(*found, strict=True))
                updates = list(torch._foreach_lerp(means, gradients, 1 - b1))
                torch._foreach_sign_(updates)
                torch._foreach_lerp_(means, gradients, 1 - b2)
                shrink(weights, rate * decay, updates if cautious else None)
                torch._foreach_add_(weights, updates, alpha=-rate)

    def state(self) -> dict[str, Tensor]:
        """m of every tensor."""
        return {f"mean.{name}": tensor for name, tensor in self.mean.items()}


optimizer = Lion
