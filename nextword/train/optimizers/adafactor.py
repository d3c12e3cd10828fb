"""Adafactor: a matrix's mean squares from one number a row and one a column (Shazeer and Stern 2018, algorithms 4, 5).

r = b r + (1 - b) mean over columns of (g^2 + 1e-30);   c = b c + (1 - b) mean over rows;   b = 1 - t^-0.8
v = r c / mean(r);    u = g / sqrt(v);    u = u / max(1, rms(u))
w = w - lr * decay * w - lr * max(1e-3, rms(w)) * u

v is the matrix of rank one nearest to the mean squares (in the sense of the I-divergence), so that next to nothing is
remembered: there is no mean of the gradient either. A vector keeps a v of its own numbers. Without a mean that warms
up, b grows from 0; an update longer than usual, which an old v would let through, is clipped to a root mean square of
1.

The rate is relative to a weight's own size, as in the paper: with the paper's rate, 0.01 falling with the root of the
step (`learning_rate=0.01`, `schedule=inverse-root`), a number changes by 1 % of its matrix's usual size. So the default
of 0.001 is low here. Decay is not the paper's: as AdamW's, for matrices only.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from nextword.train.decay import shrink
from nextword.train.roles import Role
from nextword.train.settings import TrainSettings

HONOURS = frozenset({"weight_decay"})
WHOLE = True
FADING = 0.8  # b = 1 - t^-0.8
SQUARE_EPS, SIZE_EPS = 1e-30, 1e-3  # epsilon 1 and 2
LONGEST = 1.0  # d: root mean square of an update


class Adafactor:
    """By name: `rows` and `columns` of matrices, `square` of vectors; `time` is t."""

    def __init__(self, parameters: Mapping[str, Tensor], settings: TrainSettings, roles: Mapping[str, Role]) -> None:
        self.parameters, self.settings, self.roles = parameters, settings, roles
        matrices = {name: tensor.detach().flatten(1) for name, tensor in parameters.items() if tensor.ndim > 1}
        self.rows = {name: matrix.new_zeros(matrix.shape[0]) for name, matrix in matrices.items()}
        self.columns = {name: matrix.new_zeros(matrix.shape[1]) for name, matrix in matrices.items()}
        self.square = {name: torch.zeros_like(tensor) for name, tensor in parameters.items() if name not in matrices}
        self.time = torch.zeros((), dtype=torch.int64)

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """One update of every tensor that has a gradient."""
        self.time += 1
        fresh = int(self.time) ** -FADING  # 1 - b
        for name, tensor in self.parameters.items():
            if tensor.grad is None:
                continue
            if name in self.square:
                update = self.of_vector(name, tensor.grad, fresh)
            else:
                update = self.of_matrix(name, tensor.grad.flatten(1), fresh)
            update.mul_(rate * rms(tensor).clamp_min(SIZE_EPS) / (rms(update) / LONGEST).clamp_min(1.0))
            if self.roles[name] != "vector":
                shrink([tensor], rate * self.settings.weight_decay)
            tensor.sub_(update.view_as(tensor))

    def of_vector(self, name: str, g: Tensor, fresh: float) -> Tensor:
        """u of numbers that each have a mean square."""
        v = self.square[name].lerp_(g.square().add_(SQUARE_EPS), fresh)
        return g / v.sqrt()

    def of_matrix(self, name: str, g_RC: Tensor, fresh: float) -> Tensor:
        """u of a matrix."""
        square_RC = g_RC.square().add_(SQUARE_EPS)
        r = self.rows[name].lerp_(square_RC.mean(1), fresh)
        c = self.columns[name].lerp_(square_RC.mean(0), fresh)
        return g_RC * (r / r.mean()).rsqrt().unsqueeze(1) * c.rsqrt()

    def state(self) -> dict[str, Tensor]:
        """Mean squares of rows, columns and vectors, and t."""
        tables = {"rows": self.rows, "columns": self.columns, "square": self.square}
        found = {f"{kind}.{name}": tensor for kind, table in tables.items() for name, tensor in table.items()}
        return found | {"time": self.time}


def rms(x: Tensor) -> Tensor:
    """The root of the mean square."""
    return torch.linalg.vector_norm(x) / x.numel() ** 0.5


optimizer = Adafactor
