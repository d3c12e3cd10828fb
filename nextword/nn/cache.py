"""The KV cache: the keys and values of everything read so far, so that a new token costs one step and not a whole text.

It is the State of an attention model. Each layer has two buffers (B, K, S, E), allocated for the length asked for
and enlarged when that proves too short. Rows may have read different numbers of tokens (`lengths_B`): what lies behind
a row's length is never looked at, so padding costs nothing and `crop` is nothing but smaller lengths.

`advance` gives a new state that shares the buffers of the old one. The old one remains what it was as long as only one
of its continuations is written; who needs two forks first (`select`, `fork` copy; `crop` shares).

A layer with a window never looks further back than that, so its buffer is a ring of the window and a little slack,
however long the text (Jiang et al., "Mistral 7B", 2023). More tokens than the slack cannot be taken back: what they
would look at was overwritten, and whoever tries is told so.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import torch
from torch import Tensor

from nextword.core.errors import SettingsError
from nextword.nn.mask import SLACK

GROWTH = 1.5  # a buffer that is too short is enlarged by at least this factor


class LayerCache:
    """One layer's keys and values, k_BKSE and v_BKSE."""

    def __init__(self, k_BKSE: Tensor, v_BKSE: Tensor) -> None:
        self.k_BKSE, self.v_BKSE = k_BKSE, v_BKSE

    @property
    def capacity(self) -> float:
        """The number of positions that the buffers can take."""
        return self.k_BKSE.shape[2]

    def like(self, k_BKSE: Tensor, v_BKSE: Tensor) -> Self:
        """A layer of the same kind with other buffers."""
        return type(self)(k_BKSE, v_BKSE)

    def grown(self, capacity: int) -> Self:
        """A copy with room for `capacity` positions."""
        rows, heads, size, width = self.k_BKSE.shape
        larger = self.like(*(torch.zeros(rows, heads, capacity, width).to(self.k_BKSE) for _ in range(2)))
        larger.k_BKSE[:, :, :size] = self.k_BKSE
        larger.v_BKSE[:, :, :size] = self.v_BKSE
        return larger

    def store(self, view: "View", k_BKTE: Tensor, v_BKTE: Tensor) -> tuple[Tensor, Tensor]:
        """As View's `write`."""
        if view.even:
            place = slice(view.begin, view.span)
            self.k_BKSE[:, :, place] = k_BKTE
            self.v_BKSE[:, :, place] = v_BKTE
        else:
            rows_B1 = torch.arange(len(k_BKTE), device=k_BKTE.device)[:, None]
            self.k_BKSE[rows_B1, :, view.positions_BT] = k_BKTE.transpose(1, 2).to(self.k_BKSE)
            self.v_BKSE[rows_B1, :, view.positions_BT] = v_BKTE.transpose(1, 2).to(self.v_BKSE)
        if view.fresh:  # nothing older to look at: the new ones are all, and contiguous
            return k_BKTE, v_BKTE
        # a cache in fp32 serves models in bf16, too (`engine/compiled`)
        return self.k_BKSE[:, :, : view.span].to(k_BKTE), self.v_BKSE[:, :, : view.span].to(v_BKTE)


class RollingCache(LayerCache):
    """A layer that keeps the last `room` places: the keys of place p stand at p mod room."""

    def __init__(self, k_BKSE: Tensor, v_BKSE: Tensor, room: int) -> None:
        super().__init__(k_BKSE, v_BKSE)
        self.room = room

    @property
    def capacity(self) -> float:
        """The number of positions that the buffers can take: any, once the ring is closed."""
        size = self.k_BKSE.shape[2]
        return size if size < self.room else math.inf

    def like(self, k_BKSE: Tensor, v_BKSE: Tensor) -> Self:
        """A layer of the same kind with other buffers."""
        return type(self)(k_BKSE, v_BKSE, self.room)

    def grown(self, capacity: int) -> Self:
        """A copy with room for `capacity` positions, or for all that are kept; itself where it has that."""
        size = min(capacity, self.room)
        return self if size <= self.k_BKSE.shape[2] else super().grown(size)

    def store(self, view: "View", k_BKTE: Tensor, v_BKTE: Tensor) -> tuple[Tensor, Tensor]:
        """As View's `write`; what the ring held before comes first where several tokens are read at once."""
        if view.span <= self.room:
            return super().store(view, k_BKTE, v_BKTE)
        if view.fresh:
            self.keep(view, k_BKTE, v_BKTE)
            return k_BKTE, v_BKTE
        if k_BKTE.shape[2] == 1:
            self.keep(view, k_BKTE, v_BKTE)
            return self.k_BKSE, self.v_BKSE
        seen = torch.cat((self.k_BKSE, k_BKTE), 2), torch.cat((self.v_BKSE, v_BKTE), 2)
        self.keep(view, k_BKTE, v_BKTE)
        return seen

    def keep(self, view: "View", k_BKTE: Tensor, v_BKTE: Tensor) -> None:
        """Writes the last real tokens of each row; padding would overwrite what is still looked at."""
        time = k_BKTE.shape[2]
        for row, count in enumerate(view.counts if time > 1 else ()):
            new = slice(max(0, count - self.room), count)
            places = view.positions_BT[row, new] % self.room
            self.k_BKSE[row][:, places] = k_BKTE[row, :, new]
            self.v_BKSE[row][:, places] = v_BKTE[row, :, new]
        if time == 1:  # also where it is padding: in its place stands a key that is out of the window
            rows_B = torch.arange(len(k_BKTE), device=k_BKTE.device)
            places_B = view.positions_BT[:, 0] % self.room
            self.k_BKSE[rows_B, :, places_B] = k_BKTE[:, :, 0]
            self.v_BKSE[rows_B, :, places_B] = v_BKTE[:, :, 0]


def ring_places(positions_BT: Tensor, room: int) -> Tensor:
    """The places of the keys that a ring gives for the tokens at `positions_BT`; behind all others where it is empty.

    One token is written before the ring is read; several come behind what the ring held before them.
    """
    one = positions_BT.shape[1] == 1
    last_B1 = positions_BT[:, :1] - (0 if one else 1)
    places_BR = last_B1 - (last_B1 - torch.arange(room, device=positions_BT.device)) % room
    places_BR = places_BR.masked_fill(places_BR < 0, torch.iinfo(torch.int64).max // 2)
    return places_BR if one else torch.cat((places_BR, positions_BT), 1)


def check_kept(layers: list[LayerCache], written: list[int], lengths: list[int]) -> None:
    """SettingsError where a row is to go on from so far back that a ring has overwritten what it would look at."""
    room = min(layer.room for layer in layers if isinstance(layer, RollingCache))
    for reached, length in zip(written, lengths, strict=True):
        if length and reached > room and reached - length > SLACK:
            raise SettingsError(
                f"a row of {reached} tokens cannot be taken back to {length}: layers with a window keep only what it "
                f"covers and {SLACK} tokens more; fork the state before going on, or read the text again"
            )


@dataclass(frozen=True)
class View:
    """Where the tokens of one call stand, and how a layer's cache takes their keys and values.

    positions_BT: the place of each token in its row (padding included: it stands behind the real ones). even: every row
    starts at the same place `begin`. fresh: nothing was read before, positions are 0..T-1. span: the keys there are.
    counts: how many of the tokens are real in each row.
    """

    positions_BT: Tensor
    begin: int
    span: int
    even: bool
    fresh: bool
    counts: list[int]

    def write(self, layer: LayerCache, k_BKTE: Tensor, v_BKTE: Tensor) -> tuple[Tensor, Tensor]:
        """Stores new keys and values; gives all that this call may look at, k_BKSE and v_BKSE, at places `keys`."""
        return layer.store(self, k_BKTE, v_BKTE)

    def attend(
        self,
        layer: LayerCache,
        attend: Callable[..., Tensor],
        q_BHTE: Tensor,
        k_BKTE: Tensor,
        v_BKTE: Tensor,
        *how: object,
    ) -> Tensor:
        """Attention (`attend`) of the queries of this call to what the layer holds and the new keys and values."""
        return attend(q_BHTE, *self.write(layer, k_BKTE, v_BKTE), *how)

    def rolls(self, room: int | None) -> bool:
        """Whether a layer that keeps so many places gives less than all keys."""
        return room is not None and self.span > room and not self.fresh


class KVCache:
    """The state of an attention model. `lengths` repeats `lengths_B` as a list, so that no device is asked for it.

    written: with layers that roll, how far each row was ever written, by whichever state shares the buffers.
    """

    def __init__(self, layers: list[LayerCache], lengths: list[int], written: list[int] | None = None) -> None:
        self.layers, self.lengths, self.written = layers, lengths, written

    @cached_property
    def lengths_B(self) -> Tensor:
        """The tokens that each row has read, on the cache's device; made when asked for, since it costs a transfer."""
        return torch.tensor(self.lengths, dtype=torch.int64, device=self.layers[0].k_BKSE.device)

    @classmethod
    def empty(
        cls,
        shapes: list[tuple[int, int]],
        rows: int,
        length: int,
        like: Tensor,
        rooms: Sequence[int | None] | None = None,
    ) -> Self:
        """An empty cache: `shapes` are (kv_heads, head_width) layer by layer; type and device are those of `like`.

        rooms: how many places each layer keeps, None for all.

        Filled with zeros: what a mask hides is multiplied by 0, and 0 · NaN, which fresh memory may hold, is NaN.
        """
        layers: list[LayerCache] = []
        for (heads, width), room in zip(shapes, rooms or [None] * len(shapes), strict=True):
            size = length if room is None else min(length, room)
            k, v = (torch.zeros(rows, heads, size, width, dtype=like.dtype, device=like.device) for _ in "kv")
            layers.append(LayerCache(k, v) if room is None else RollingCache(k, v, room))
        return cls(layers, [0] * rows, [0] * rows if any(rooms or ()) else None)

    @property
    def capacity(self) -> float:
        """The number of positions that the buffers can take."""
        if self.written is None:  # all layers are alike
            return self.layers[0].capacity
        return min(layer.capacity for layer in self.layers)

    def advance(self, time: int, counts: list[int]) -> tuple["KVCache", View]:
        """The state after `time` more positions of which `counts` are real in each row, and the view of this call."""
        longest = max(self.lengths, default=0)
        even, begin, span = len(set(self.lengths)) == 1, longest, longest + time
        layers = self.layers
        capacity = self.capacity
        if span > capacity:
            layers = [layer.grown(max(span, int(GROWTH * capacity))) for layer in layers]
        positions_BT = self.lengths_B[:, None] + torch.arange(time, device=self.lengths_B.device)
        view = View(positions_BT, begin, span, even, longest == 0, counts)
        return self.after(counts, layers), view

    def after(self, counts: Sequence[int], layers: list[LayerCache]) -> "KVCache":
        """The state once `counts` more tokens of each row are in `layers`."""
        lengths = [old + new for old, new in zip(self.lengths, counts, strict=True)]
        if self.written is not None:
            check_kept(layers, self.written, self.lengths)
            for row, (old, new) in enumerate(zip(self.lengths, lengths, strict=True)):
                self.written[row] = max(self.written[row], new) if old else new
        return KVCache(layers, lengths, self.written)

    def select(self, rows: Tensor) -> "KVCache":
        """A copy of the given rows (int64 indices), in their order."""
        kept = [layer.like(layer.k_BKSE[rows], layer.v_BKSE[rows]) for layer in self.layers]
        numbers = rows.tolist()
        written = None if self.written is None else [self.written[row] for row in numbers]
        return KVCache(kept, [self.lengths[row] for row in numbers], written)

    def crop(self, lengths_B: Tensor) -> "KVCache":
        """The state after the first `lengths_B` tokens of each row; shares the buffers."""
        lengths = lengths_B.tolist()
        if any(not 0 <= new <= old for new, old in zip(lengths, self.lengths, strict=True)):
            raise ValueError(f"cannot crop rows of lengths {self.lengths} to {lengths}")
        if self.written is not None:
            check_kept(self.layers, self.written, lengths)
        return KVCache(self.layers, lengths, self.written)

    def fork(self, row: int, count: int) -> "KVCache":
        """`count` copies of one row."""
        return self.select(torch.full((count,), row, dtype=torch.int64, device=self.lengths_B.device))
