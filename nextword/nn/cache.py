"""The KV cache: the keys and values of everything read so far, so that a new token costs one step and not a whole text.

It is the State of an attention model. Each layer has two buffers (B, K, S, E), allocated for the length asked for
and enlarged when that proves too short. Rows may have read different numbers of tokens (`lengths_B`): what lies behind
a row's length is never looked at, so padding costs nothing and `crop` is nothing but smaller lengths.

`advance` gives a new state that shares the buffers of the old one. The old one remains what it was as long as only one
of its continuations is written; who needs two forks first (`select`, `fork` copy; `crop` shares).
"""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

GROWTH = 1.5  # a buffer that is too short is enlarged by at least this factor


class LayerCache:
    """One layer's keys and values, k_BKSE and v_BKSE."""

    def __init__(self, k_BKSE: Tensor, v_BKSE: Tensor) -> None:
        self.k_BKSE, self.v_BKSE = k_BKSE, v_BKSE

    def grown(self, capacity: int) -> "LayerCache":
        """A copy with room for `capacity` positions."""
        rows, heads, size, width = self.k_BKSE.shape
        larger = LayerCache(*(torch.zeros(rows, heads, capacity, width).to(self.k_BKSE) for _ in range(2)))
        larger.k_BKSE[:, :, :size] = self.k_BKSE
        larger.v_BKSE[:, :, :size] = self.v_BKSE
        return larger


@dataclass(frozen=True)
class View:
    """Where the tokens of one call stand, and how a layer's cache takes their keys and values.

    positions_BT: the place of each token in its row (padding included: it stands behind the real ones). even: every row
    starts at the same place `begin`. fresh: nothing was read before, positions are 0..T-1. span: the keys there are.
    """

    positions_BT: Tensor
    begin: int
    span: int
    even: bool
    fresh: bool

    def write(self, layer: LayerCache, k_BKTE: Tensor, v_BKTE: Tensor) -> tuple[Tensor, Tensor]:
        """Stores new keys and values; gives all that this call may look at, k_BKSE and v_BKSE with S = span."""
        if self.even:
            place = slice(self.begin, self.span)
            layer.k_BKSE[:, :, place] = k_BKTE
            layer.v_BKSE[:, :, place] = v_BKTE
        else:
            rows_B1 = torch.arange(len(k_BKTE), device=k_BKTE.device)[:, None]
            layer.k_BKSE[rows_B1, :, self.positions_BT] = k_BKTE.transpose(1, 2)
            layer.v_BKSE[rows_B1, :, self.positions_BT] = v_BKTE.transpose(1, 2)
        if self.fresh:  # nothing older to look at: the new ones are all, and contiguous
            return k_BKTE, v_BKTE
        return layer.k_BKSE[:, :, : self.span], layer.v_BKSE[:, :, : self.span]


class KVCache:
    """The state of an attention model. `lengths` repeats `lengths_B` as a list, so that no device is asked for it."""

    def __init__(self, layers: list[LayerCache], lengths: list[int]) -> None:
        self.layers, self.lengths = layers, lengths
        self.lengths_B = torch.tensor(lengths, dtype=torch.int64, device=layers[0].k_BKSE.device)

    @classmethod
    def empty(cls, shapes: list[tuple[int, int]], rows: int, length: int, like: Tensor) -> Self:
        """An empty cache: `shapes` are (kv_heads, head_width) layer by layer; type and device are those of `like`.

        Filled with zeros: what a mask hides is multiplied by 0, and 0 · NaN, which fresh memory may hold, is NaN.
        """
        layers = [
            LayerCache(*(torch.zeros(rows, heads, length, width, dtype=like.dtype, device=like.device) for _ in "kv"))
            for heads, width in shapes
        ]
        return cls(layers, [0] * rows)

    @property
    def capacity(self) -> int:
        """The number of positions that the buffers hold."""
        return self.layers[0].k_BKSE.shape[2]

    def advance(self, time: int, counts: list[int]) -> tuple["KVCache", View]:
        """The state after `time` more positions of which `counts` are real in each row, and the view of this call."""
        longest = max(self.lengths, default=0)
        even, begin, span = len(set(self.lengths)) == 1, longest, longest + time
        layers = self.layers
        if span > self.capacity:
            layers = [layer.grown(max(span, int(GROWTH * self.capacity))) for layer in layers]
        positions_BT = self.lengths_B[:, None] + torch.arange(time, device=self.lengths_B.device)
        view = View(positions_BT, begin, span, even, fresh=longest == 0)
        return KVCache(layers, [old + new for old, new in zip(self.lengths, counts, strict=True)]), view

    def select(self, rows: Tensor) -> "KVCache":
        """A copy of the given rows (int64 indices), in their order."""
        kept = [LayerCache(layer.k_BKSE[rows], layer.v_BKSE[rows]) for layer in self.layers]
        return KVCache(kept, [self.lengths[row] for row in rows.tolist()])

    def crop(self, lengths_B: Tensor) -> "KVCache":
        """The state after the first `lengths_B` tokens of each row; shares the buffers."""
        lengths = lengths_B.tolist()
        if any(not 0 <= new <= old for new, old in zip(lengths, self.lengths, strict=True)):
            raise ValueError(f"cannot crop rows of lengths {self.lengths} to {lengths}")
        return KVCache(self.layers, lengths)

    def fork(self, row: int, count: int) -> "KVCache":
        """`count` copies of one row."""
        return self.select(torch.full((count,), row, dtype=torch.int64, device=self.lengths_B.device))
