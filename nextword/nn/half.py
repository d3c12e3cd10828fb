"""A model whose matrices stay in the 16 bits in which they are stored, on a processor that multiplies only 32 fast.

bfloat16 is the upper half of fp32, so what is widened is the same number. A model that is widened as a whole takes
twice its memory, and widening takes longer than all else between a file and the first token. Here linear layers,
embedding and output keep the tensor that they were given, which may be a view of the file, and compute in the type of
their input (`nn/tiles`); norms, biases and positions, a thousandth of a model, are widened. Vectors, scores and the
cache of keys and values are then fp32, as if all had been.

A change of the module's type (`model.float()`) is one of everything, after which these are layers like any others.
"""

from itertools import chain

import torch
from torch import Tensor, nn

from nextword.nn.embedding import Embedding, FullEmbedding
from nextword.nn.head import Head
from nextword.nn.init import EmptyLinear
from nextword.nn.tiles import linear


class HalfLinear(nn.Linear):
    """`nn.Linear` that computes in the type of its input."""

    def forward(self, x: Tensor) -> Tensor:
        """x W^T + b."""
        return linear(x, self.weight, self.bias)


class HalfRows(nn.Module):
    """In place of an embedding. nothing: an empty tensor of the type that vectors have; it follows the module's."""

    nothing: Tensor
    weight: Tensor

    @property
    def like(self) -> Tensor:
        """A tensor of the type and on the device that vectors have."""
        return self.nothing

    def forward(self, ids: Tensor) -> Tensor:
        """The vectors of tokens."""
        return super().forward(ids).to(self.nothing.dtype)


class HalfEmbedding(HalfRows, Embedding):
    """`Embedding` with vectors of another type than its rows."""


class HalfFullEmbedding(HalfRows, FullEmbedding):
    """`FullEmbedding` whose tokens' vectors are stored in another type."""


HALVES: dict[type[nn.Module], type[nn.Module]] = {
    EmptyLinear: HalfLinear,
    nn.Linear: HalfLinear,
    Embedding: HalfEmbedding,
    FullEmbedding: HalfFullEmbedding,
}
WHOLE = {half: whole for whole, half in HALVES.items()}


def keep(model: nn.Module, dtype: torch.dtype) -> None:
    """Leaves a model's matrices as they are stored; all else becomes `dtype`, and so does what is computed."""
    kept = set()
    for module in model.modules():
        if type(module) in HALVES:
            module.__class__ = HALVES[type(module)]  # as `quant/table` does; the module stays itself
            kept.add(id(module.weight))
        if isinstance(module, HalfRows):
            module.register_buffer("nothing", torch.empty(0, dtype=dtype), persistent=False)
        if isinstance(module, Head):
            kept.add(id(module.weight))
    for tensor in chain(model.parameters(), model.buffers()):
        if tensor.is_floating_point() and id(tensor) not in kept:
            tensor.data = tensor.data.to(dtype)


def widen(model: nn.Module) -> None:
    """Undoes `keep`, where it was done: everything gets the type that is computed in."""
    if (rows := _kept(model)) is not None:
        model.to(rows.like.dtype)
    for module in model.modules():
        if type(module) in WHOLE:
            module.__class__ = WHOLE[type(module)]


def as_stored(model: nn.Module) -> dict[str, Tensor]:
    """A model's tensors by name in the type of its matrices, also those that `keep` widened.

    One that has been changed to numbers which that type does not have stays as it is.
    """
    state, rows = model.state_dict(), _kept(model)
    if rows is None:
        return state
    return {name: _narrowed(tensor, rows.weight.dtype) for name, tensor in state.items()}


def _kept(model: nn.Module) -> HalfRows | None:
    """The embedding of a model whose matrices are of another type than its vectors."""
    found = (module for module in model.modules() if isinstance(module, HalfRows))
    return next((rows for rows in found if rows.weight.dtype != rows.like.dtype), None)


def _narrowed(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    if not tensor.is_floating_point():
        return tensor
    narrow = tensor.to(dtype)
    return narrow if torch.equal(narrow.to(tensor.dtype), tensor) else tensor
