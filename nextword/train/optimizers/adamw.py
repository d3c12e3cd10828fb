"""AdamW: Adam with decoupled weight decay (Loshchilov and Hutter 2019).

m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2
w = w (1 - lr * decay) - lr * (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps)

The decay shrinks matrices only: a norm's gain or a bias ("vector" among the roles) has a size that means something.
With factors (`train/rates.py`) a weight is moved by lr * factor; it shrinks by lr * decay all the same.

With `sparse_tables`, rows of a table whose gradient is 0 (nobody looked them up) are left as they are, with their m and
v; the other rows are changed as above, with the same t. Dense Adam goes on moving a row by its old m for some steps
after it was looked up, shrinks it in every step, and lets its v fade, so that a rare word's next update is large; here
a word's means are over the steps in which it occurs. A row that is rarely looked up so moves a fraction as far: tables
want a `table_rate` ten times as high. It also saves reading and writing four tables: what is left is one look at the
gradient, and where one process trains not even that, since the gradient is a list of rows from the start. A row that
was looked up and happens to have a gradient of 0 counts as untouched.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from nextword.train.decay import shrink
from nextword.train.roles import Role
from nextword.train.settings import TrainSettings

HONOURS = frozenset({"betas", "eps", "weight_decay", "cautious_decay", "sparse_tables", "table_rate"})
WHOLE = False
FUSED = {"cpu", "cuda"}  # where PyTorch does the whole update in one pass over memory


class AdamW:
    """`mean` and `square` are m and v, by name; `time` is t, on the tensors' device."""

    def __init__(
        self,
        parameters: Mapping[str, Tensor],
        settings: TrainSettings,
        roles: Mapping[str, Role],
        factors: Mapping[str, float] | None = None,
    ) -> None:
        self.parameters, self.settings = parameters, settings
        factors = dict.fromkeys(parameters, 1.0) if factors is None else factors
        if settings.table_rate is not None:
            share = settings.table_rate / settings.learning_rate
            factors = {name: factor * share if roles[name] == "table" else factor for name, factor in factors.items()}
        by_row = [name for name in parameters if settings.sparse_tables and roles[name] == "table"]
        self.sparse = {name: factors[name] for name in by_row}
        self.groups: dict[tuple[float, float], list[str]] = {}  # names of all others by their decay and their factor
        for name in (name for name in parameters if name not in self.sparse):
            decay = 0.0 if roles[name] == "vector" else settings.weight_decay
            self.groups.setdefault((decay, factors[name]), []).append(name)
        device = next(iter(parameters.values())).device
        self.update = fused if device.type in FUSED else plain
        self.time = torch.zeros((), device=device)
        self.mean = {name: torch.zeros_like(tensor) for name, tensor in parameters.items()}
        self.square = {name: torch.zeros_like(tensor) for name, tensor in parameters.items()}

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """One update of every tensor that has a gradient."""
        self.time += 1
        for (decay, factor), group in self.groups.items():
            names = [name for name in group if self.parameters[name].grad is not None]
            if names:
                weights = [self.parameters[name] for name in names]
                means, squares = ([table[name] for name in names] for table in (self.mean, self.square))
                self.change(weights, [tensor.grad for tensor in weights], means, squares, rate, decay, factor)
        for name, factor in self.sparse.items():
            if self.parameters[name].grad is not None:
                self.step_rows(name, self.parameters[name], rate, factor)

    def step_rows(self, name: str, table: Tensor, rate: float, factor: float) -> None:
        """An update of those rows that have a gradient."""
        rows, gradient = touched(table.grad)
        whole = (table, self.mean[name], self.square[name])
        if len(rows) == len(table):  # as the embedding's where it is the output matrix too
            weight, mean, square = whole
            self.change([weight], [gradient], [mean], [square], rate, self.settings.weight_decay, factor)
        elif len(rows):
            part = weight, mean, square = [tensor.index_select(0, rows) for tensor in whole]
            self.change([weight], [gradient], [mean], [square], rate, self.settings.weight_decay, factor)
            for tensor, changed in zip(whole, part, strict=True):
                tensor.index_copy_(0, rows, changed)

    def change(
        self,
        weights: list[Tensor],
        gradients: list[Tensor],
        means: list[Tensor],
        squares: list[Tensor],
        rate: float,
        decay: float,
        factor: float,
    ) -> None:
        """The update in place. A cautious decay goes by the new m, whose sign is the update's."""
        if decay and self.settings.cautious_decay:
            shrink(weights, rate * decay, torch._foreach_lerp(means, gradients, 1 - self.settings.betas[0]))
            decay = 0.0
        self.update(weights, gradients, means, squares, self.time, rate * factor, decay / factor, self.settings)

    def state(self) -> dict[str, Tensor]:
        """m and v of every tensor, and t."""
        means = {f"mean.{name}": tensor for name, tensor in self.mean.items()}
        return means | {f"square.{name}": tensor for name, tensor in self.square.items()} | {"time": self.time}


def touched(gradient: Tensor) -> tuple[Tensor, Tensor]:
    """The numbers of the rows of a gradient, dense or sparse, whose norm is not 0; and these rows.

    The squares of numbers below 1e-22 are 0 in fp32. No test is faster: the largest size of each row takes ten times as
    long, and a look for numbers that are not 0 twice.
    """
    held = gradient.values() if gradient.is_sparse else gradient
    rows = torch.linalg.vector_norm(held.flatten(1), dim=1).nonzero().squeeze(1)
    kept = held if len(rows) == len(held) else held.index_select(0, rows)
    return (gradient.indices()[0].index_select(0, rows) if gradient.is_sparse else rows), kept


def fused(
    weights: list[Tensor],
    gradients: list[Tensor],
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
        gradients,
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
    gradients: list[Tensor],
    means: list[Tensor],
    squares: list[Tensor],
    time: Tensor,
    rate: float,
    decay: float,
    settings: TrainSettings,
) -> None:
    """The same, as the formula is written."""
    b1, b2 = settings.betas
    for w, g, m, v in zip(weights, gradients, means, squares, strict=True):
        m.lerp_(g, 1 - b1)
        v.lerp_(g.square(), 1 - b2)
        w.mul_(1 - rate * decay)
        w.sub_(rate * (m / (1 - b1**time)) / ((v / (1 - b2**time)).sqrt() + settings.eps))


optimizer = AdamW
