"""Rows as a model reads them, together with what it is to predict in them.

A form (`nextword/data/forms`) turns text into this; an objective turns this into a loss. Everything random has happened
when it is made, so that the same rows give the same loss whenever, and in whatever parts, they are computed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

IGNORED = -100  # the label of a position that is not to be predicted, as `nextword.nn.loss.IGNORED`
NO_SEGMENT = -1  # the number of padding, behind the last document of a packed row

Ids = NDArray[Any]
Spans = tuple[tuple[int, int], ...]  # (start, stop) in the tokens of a split


@dataclass(frozen=True)
class Source:
    """What the encoder of an encoder-decoder reads, described as in `Labelled`."""

    ids_BT: Tensor
    mask_BT: Tensor | None = None
    segments_BT: Tensor | None = None


@dataclass(frozen=True)
class Labelled:
    """Inputs and labels of a batch; what a form does not need is None.

    ids_BT: int64, what is read. labels_BT: int64, what is predicted at each position, IGNORED where nothing is; whether
    that is the token itself or the one after it is the form's business. mask_BT: True where an id is real. segments_BT:
    equal numbers belong to one document (packed rows). types_BT: token types (first and second sentence). source: what
    an encoder reads beside it. random_B: 1 where the second sentence is a random one, else 0. noise_BT: a uniform
    number in [0, 1) for each position, for objectives that draw tokens themselves. spans: where the rows' text stands
    in its split, for error messages.
    """

    ids_BT: Tensor
    labels_BT: Tensor
    mask_BT: Tensor | None = None
    segments_BT: Tensor | None = None
    types_BT: Tensor | None = None
    source: Source | None = None
    random_B: Tensor | None = None
    noise_BT: Tensor | None = None
    spans: Spans = ()

    @property
    def rows(self) -> int:
        """How many rows."""
        return self.ids_BT.shape[0]

    @property
    def tokens(self) -> int:
        """Real tokens that are read, those of the source included."""
        here = self.ids_BT.numel() if self.mask_BT is None else int(self.mask_BT.sum())
        if self.source is None:
            return here
        mask_BT = self.source.mask_BT
        return here + (self.source.ids_BT.numel() if mask_BT is None else int(mask_BT.sum()))

    @property
    def labels(self) -> int:
        """Positions at which something is predicted."""
        return int((self.labels_BT != IGNORED).sum())

    def part(self, start: int, stop: int) -> "Labelled":
        """Some of the rows."""
        return _each(self, lambda tensor: tensor[start:stop])

    def to(self, device: torch.device | str) -> "Labelled":
        """The same on another device."""
        return _each(self, lambda tensor: tensor.to(device, non_blocking=True))


T = TypeVar("T", "Labelled", Source)


def _each(rows: T, change: Callable[[Tensor], Tensor]) -> T:
    """The dataclass with every tensor in it changed."""
    found: dict[str, Any] = {}
    for field in fields(rows):
        value = getattr(rows, field.name)
        if isinstance(value, Tensor):
            value = change(value)
        elif isinstance(value, Source):
            value = _each(value, change)
        found[field.name] = value
    return type(rows)(**found)


def stack(rows: Sequence[Ids], fill: int, dtype: type = np.int64, length: int = 0) -> Tensor:
    """Rows of numbers as one tensor, `fill` behind the shorter ones; at least `length` wide."""
    width = max([length, *map(len, rows)])
    whole: Ids = np.full((len(rows), width), fill, dtype)
    for number, row in enumerate(rows):
        whole[number, : len(row)] = row
    return torch.from_numpy(whole)


def real(rows: Sequence[Ids], length: int = 0) -> Tensor | None:
    """mask_BT of rows that `stack` has put together; None when all are equally long and nothing is padding."""
    sizes = np.array([len(row) for row in rows])
    width = max(length, int(sizes.max()))
    return None if bool((sizes == width).all()) else torch.from_numpy(np.arange(width) < sizes[:, None])


def numbered(rows: Sequence[Sequence[Ids]], length: int = 0) -> Tensor | None:
    """segments_BT of rows that each hold the given pieces one after the other; None where no row has two."""
    if all(len(pieces) == 1 for pieces in rows):
        return None
    counts = [np.repeat(np.arange(len(pieces)), [len(piece) for piece in pieces]) for pieces in rows]
    return stack(counts, NO_SEGMENT, length=length)
