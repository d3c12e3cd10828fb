"""Muon: the running mean of a hidden matrix's gradient, orthogonalised (Jordan et al. 2024); AdamW for all else.

m = mu m + (1 - mu) g;    u = mu m + (1 - mu) g  (Nesterov: as if the next gradient were like this one)
w = w (1 - lr * decay) - lr * s * orthogonal(u)

A gradient's few large directions drown the many small ones; orthogonalised, each moves equally far. That is meant for
matrices between layers ("hidden" among the roles): tables, outputs and vectors go to AdamW with its own rate. s is
`muon_scale`:

    moonlight   0.2 sqrt(max(rows, columns)): a number moves 0.2 lr on the average, as with AdamW, whose rate and decay
                so serve here too (Liu et al. 2025, "Muon is Scalable for LLM Training")
    shape       sqrt(max(1, rows / columns)): a change of the input changes the output equally much whatever the shape
                (Jordan), with a rate of its own, `muon_rate`, which follows the same schedule

`muon_normalised` is NorMuon (Li et al. 2025): each row of the orthogonalised update (what goes into one neuron) is
divided by the root of its running mean square, and the matrix brought back to its norm, so that no neuron runs ahead.

`muon_every=k`: m takes every gradient in, but matrices move in every k-th step only, by k times as much (decay too), so
that a run needs no other rate; the costly products are made 1/k as often. Steps after the last k-th one do not move
them.

Orthogonalising costs 10 to 15 products of a matrix with itself whatever the batch: a share of 5 · width / tokens of a
step's arithmetic (Jordan), little for batches of 100,000 tokens, half for 1,000 tokens and a width of 128. Matrices are
taken as they lie: an LSTM's four gates, stacked, count as one matrix.
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from nextword.train.decay import shrink
from nextword.train.optimizers.adamw import AdamW
from nextword.train.orthogonal import Orthogonaliser
from nextword.train.roles import Role
from nextword.train.settings import TrainSettings

HONOURS = frozenset({
    "betas", "eps", "weight_decay", "cautious_decay", "sparse_tables", "table_rate", "muon_rate", "muon_momentum",
    "muon_scale", "muon_steps", "muon_every", "muon_normalised",
})  # fmt: skip
WHOLE = True
MATCHED = 0.2  # root mean square of AdamW's updates as measured by Liu et al.
ROWS_KEPT = 0.95  # NorMuon's second beta
EPS = 1e-10


class Muon:
    """Hidden matrices in stacks of one shape; `rest`: AdamW of what is not hidden; `time`: steps so far."""

    def __init__(self, parameters: Mapping[str, Tensor], settings: TrainSettings, roles: Mapping[str, Role]) -> None:
        self.settings = settings
        shapes: dict[tuple[int, int], dict[str, Tensor]] = {}
        for name, tensor in parameters.items():
            if roles[name] == "hidden":
                shapes.setdefault((tensor.shape[0], tensor[0].numel()), {})[name] = tensor
        self.stacks = [Stack(found, settings) for found in shapes.values()]
        rest = {name: tensor for name, tensor in parameters.items() if roles[name] != "hidden"}
        self.rest = AdamW(rest, settings, roles) if rest else None
        self.time = torch.zeros((), dtype=torch.int64)

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """One update of every tensor that has a gradient; `rate` is AdamW's."""
        if self.rest is not None:
            self.rest.step(rate)
        self.time += 1
        every = self.settings.muon_every
        moves = int(self.time) % every == 0
        hidden_rate = self.settings.hidden_rate * rate / self.settings.learning_rate if rate else 0.0
        for stack in self.stacks:
            stack.step(hidden_rate * every if moves else None)

    def state(self) -> dict[str, Tensor]:
        """m of hidden matrices, NorMuon's mean squares, AdamW's state, and the steps."""
        found = {name: tensor for stack in self.stacks for name, tensor in stack.state().items()}
        return found | ({} if self.rest is None else self.rest.state()) | {"hidden_time": self.time}


class Stack:
    """Hidden matrices of one shape: m_NRC, and a buffer for their gradients and updates."""

    def __init__(self, matrices: Mapping[str, Tensor], settings: TrainSettings) -> None:
        self.settings, self.names, self.matrices = settings, list(matrices), list(matrices.values())
        count, first = len(matrices), self.matrices[0]
        rows, columns = first.shape[0], first[0].numel()
        self.mean = torch.zeros(count, rows, columns, device=first.device)
        self.square = torch.zeros(count, rows, device=first.device) if settings.muon_normalised else None
        self.update = torch.empty_like(self.mean)
        self.orthogonal = Orthogonaliser(count, rows, columns, settings.muon_steps, first.device)
        form = math.sqrt(max(1.0, rows / columns))
        self.scale = MATCHED * math.sqrt(max(rows, columns)) if settings.muon_scale == "moonlight" else form

    def step(self, rate: float | None) -> None:
        """Takes the gradients in and moves the matrices that have one; without a rate they stay."""
        found = [number for number, matrix in enumerate(self.matrices) if matrix.grad is not None]
        if not found:
            return
        some = len(found) < len(self.matrices)
        mean = self.mean[found] if some else self.mean
        update = self.update[: len(found)]
        torch.stack([self.matrices[number].grad.flatten(1) for number in found], out=update)
        mean.lerp_(update, 1 - self.settings.muon_momentum)
        if some:
            self.mean[found] = mean
        if rate is not None:
            update.lerp_(mean, self.settings.muon_momentum)
            self.move(found, self.orthogonal(update), rate)

    def move(self, found: list[int], update: Tensor, rate: float) -> None:
        """w <- w (1 - rate * decay) - rate * scale * update."""
        if self.square is not None:
            update = self.normalised(found, update)
        weights, updates = [self.matrices[number].flatten(1) for number in found], list(update.unbind())
        cautious = self.settings.cautious_decay
        shrink(weights, rate * self.settings.weight_decay, updates if cautious else None)
        torch._foreach_add_(weights, updates, alpha=-rate * self.scale)

    def normalised(self, found: list[int], update: Tensor) -> Tensor:
        """Rows over the root of their running mean square, the matrix's norm as before."""
        square = self.square[found].lerp_(update.square().mean(2), 1 - ROWS_KEPT)
        self.square[found] = square
        rows = update / (square.sqrt() + EPS).unsqueeze(2)
        norms = [torch.linalg.vector_norm(x, dim=(1, 2), keepdim=True) for x in (update, rows)]
        return rows.mul_(norms[0] / (norms[1] + EPS))

    def state(self) -> dict[str, Tensor]:
        """m of each matrix, and NorMuon's mean squares of its rows."""
        found = {f"momentum.{name}": mean for name, mean in zip(self.names, self.mean.unbind(), strict=True)}
        if self.square is not None:
            found |= {f"rows.{name}": row for name, row in zip(self.names, self.square.unbind(), strict=True)}
        return found


optimizer = Muon
