"""AdamW: Adam with decoupled weight decay (Loshchilov and Hutter 2019).

m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2
w = w (1 - lr * decay) - lr * (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps)

The decay shrinks matrices only: a norm's gain or a bias ("vector" among the roles) has a size that means something.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from nextword.train.roles import Role
from nextword.train.settings import TrainSettings

FUSED = {"cpu", "cuda"}  # where PyTorch does the whole update in one pass over memory


class AdamW:
    """`mean` and `square` are m and v, by name; `time` is t, on the tensors' device."""

    def __init__(self, parameters: Mapping[str, Tensor], settings: TrainSettings, roles: Mapping[str, Role]) -> None:
        self.parameters, self.settings, self.roles = parameters, settings, roles
        device = next(iter(parameters.values())).device
        self.update = fused if device.type in FUSED else plain
        self.time = torch.zeros((), device=device)
        self.mean = {name: torch.zeros_like(tensor) for name, tensor in parameters.items()}
        self.square = {name: torch.zeros_like(tensor) for name, tensor in parameters.items()}

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """One update of every tensor that has a gradient."""
        self.time += 1
        found = {name: tensor for name, tensor in self.parameters.items() if tensor.grad is not None}
        for decay, matrices in ((self.settings.weight_decay, True), (0.0, False)):
            names = [name for name in found if (self.roles[name] != "vector") == matrices]
            if names:
                lists = [[table[name] for name in names] for table in (found, self.mean, self.square)]
                self.update(*lists, self.time, rate, decay, self.settings)

    def state(self) -> dict[str, Tensor]:
        """m and v of every tensor, and t."""
        means = {f"mean.{name}": tensor for name, tensor in self.mean.items()}
        return means | {f"square.{name}": tensor for name, tensor in self.square.items()} | {"time": self.time}


def fused(
    weights: list[Tensor],
    means: list[Tensor],
    squares: list[Tensor],
    time: Tensor,
    rate: float,
    decay: float,
    settings: TrainSettings,
) -> None:
    """The update by PyTorch's kernel that reads and writes every number once."""
    torch._fused_adamw_(
        weights,
        [tensor.grad for tensor in weights],
        means,
        squares,
        [],
        [time] * len(weights),
        lr=rate,
        beta1=settings.betas[0],
        beta2=settings.betas[1],
        weight_decay=decay,
        eps=settings.eps,
        amsgrad=False,
        maximize=False,
    )


def plain(
    weights: list[Tensor],
    means: list[Tensor],
    squares: list[Tensor],
    time: Tensor,
    rate: float,
    decay: float,
    settings: TrainSettings,
) -> None:
    """The same, as the formula is written."""
    b1, b2 = settings.betas
    for w, m, v in zip(weights, means, squares, strict=True):
        m.lerp_(w.grad, 1 - b1)
        v.lerp_(w.grad.square(), 1 - b2)
        w.mul_(1 - rate * decay)
        w.sub_(rate * (m / (1 - b1**time)) / ((v / (1 - b2**time)).sqrt() + settings.eps))


optimizer = AdamW
