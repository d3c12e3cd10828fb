"""Products with a matrix of which a few rows at a time are made as numbers that a processor multiplies fast.

    y = x Wᵀ        dx = dy W        W: some rows are made, used while they are in the cache, and forgotten

So a matrix may be kept in fewer bits than it is computed with. For many rows of x making the tiles costs little beside
the products; for one it costs more than the product itself.

`linear` is the layer whose matrix may be of another number format than its input: x stays what it is.
"""

from collections.abc import Iterable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

TILE_NUMBERS = 1 << 20  # weights that are made at once: 4 MB of fp32, which stay in the cache until they are used

Tiles = Iterable[tuple[slice, Tensor]]  # which rows of the matrix, and these rows


def spans(rows: int, width: int) -> Iterator[slice]:
    """The rows of a matrix in order, as many at a time as make a tile."""
    step = max(1, TILE_NUMBERS // width)
    return (slice(first, min(first + step, rows)) for first in range(0, rows, step))


def product(x: Tensor, tiles: Tiles, rows: int) -> Tensor:
    """x Wᵀ with a matrix of so many rows, (..., rows)."""
    y = x.new_empty(*x.shape[:-1], rows)
    for span, tile in tiles:
        y[..., span] = x @ tile.T
    return y


def back(dy: Tensor, tiles: Tiles, width: int) -> Tensor:
    """dy W with a matrix that is so wide, (..., width)."""
    dx = dy.new_zeros(*dy.shape[:-1], width)
    for span, tile in tiles:
        dx += dy[..., span] @ tile
    return dx


def cast(weight: Tensor, dtype: torch.dtype) -> Tiles:
    """The tiles of a matrix in another number format."""
    return ((span, weight[span].to(dtype)) for span in spans(*weight.shape))


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x Wᵀ + b in the type of x, whatever that of W."""
    if weight.dtype == x.dtype:
        return F.linear(x, weight, bias)
    y = _Product.apply(x, weight)
    return y if bias is None else y + bias


def times(dy_NV: Tensor, weight_VD: Tensor) -> Tensor:
    """dy W in the type of dy, whatever that of W."""
    if weight_VD.dtype == dy_NV.dtype:
        return dy_NV @ weight_VD
    return back(dy_NV, cast(weight_VD, dy_NV.dtype), weight_VD.shape[1])


class _Product(torch.autograd.Function):
    """x Wᵀ, its gradient dx = dy W, for which W is cast again and not kept, and dW = dyᵀ x in the type of W."""

    @staticmethod
    def forward(ctx, x, weight):  # noqa: D102
        ctx.save_for_backward(x if ctx.needs_input_grad[1] else None, weight)
        return product(x, cast(weight, x.dtype), len(weight))

    @staticmethod
    def backward(ctx, dy):  # noqa: D102
        x, weight = ctx.saved_tensors
        dx = times(dy, weight) if ctx.needs_input_grad[0] else None
        dweight = None if x is None else (dy.flatten(0, -2).T @ x.flatten(0, -2)).to(weight.dtype)
        return dx, dweight
