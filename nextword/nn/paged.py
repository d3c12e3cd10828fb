"""A KV cache in blocks: many texts in one pool, each with a table of the blocks that hold its keys and values.

Texts that are served together end at different times and begin alike. Cut into blocks of a few tokens, the cache of
each takes no more room than its text, a block that is free fits everyone, and texts with the same beginning have the
same blocks there (Kwon et al., "Efficient Memory Management for Large Language Model Serving with PagedAttention",
2023). Place p of a text stands in block `table[p // size]` at p mod size.

All tokens of a call stand in one row, text after text, so that the products of a layer are one product whatever the
texts' lengths; only attention goes text by text: those that read one token by the kernel where there is one
(`nn/kernels/paged`), those that read several over their keys laid side by side.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from nextword.nn.mask import ALL, CAUSAL, Sight

# out_NHE of queries (N, H, E), the pool's keys and values, the block tables (N, M), lengths and scale
PagedAttend = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, float], Tensor]


class PagedLayer:
    """One layer's pool: keys and values (blocks, K, size, E), each block a row."""

    def __init__(self, k_BKSE: Tensor, v_BKSE: Tensor) -> None:
        self.k_BKSE, self.v_BKSE = k_BKSE, v_BKSE

    @property
    def size(self) -> int:
        """Places in a block."""
        return self.k_BKSE.shape[2]


class PagedCache:
    """The pools of all layers; whose a block is, the engine knows."""

    def __init__(self, layers: list[PagedLayer]) -> None:
        self.layers, self.size = layers, layers[0].size

    @classmethod
    def empty(cls, shapes: Sequence[tuple[int, int]], blocks: int, size: int, like: Tensor) -> "PagedCache":
        """Pools of so many blocks of `size` places; `shapes` are (kv_heads, head_width) layer by layer."""
        pools = ([torch.zeros(blocks, heads, size, width).to(like) for _ in "kv"] for heads, width in shapes)
        return cls([PagedLayer(*pool) for pool in pools])


@dataclass(frozen=True)
class Part:
    """The tokens of one text in a call: how many, at which place the first of them stands, and the text's blocks."""

    count: int
    begin: int
    blocks: Sequence[int]

    @property
    def length(self) -> int:
        """Tokens of the text after the call."""
        return self.begin + self.count


@dataclass(frozen=True)
class PagedView:
    """Where the tokens of a call stand. Those of texts that read one token come first.

    kernel: attention of such tokens over the pool; None for the plain way.
    """

    parts: Sequence[Part]
    size: int
    device: torch.device
    kernel: PagedAttend | None = None
    fresh = True  # as far as masks go: each text's attention knows for itself what it sees
    even = False

    @property
    def span(self) -> int:
        """One more than the largest place."""
        return max(part.length for part in self.parts)

    @property
    def singles(self) -> int:
        """How many texts read one token."""
        return sum(part.count == 1 for part in self.parts)

    @cached_property
    def positions_BT(self) -> Tensor:
        """The place of each token in its text, (1, N)."""
        places = [place for part in self.parts for place in range(part.begin, part.length)]
        return torch.tensor([places], device=self.device)

    @cached_property
    def cells(self) -> tuple[Tensor, Tensor]:
        """The block of each token and its place there, (N)."""
        owners = [part.blocks[place // self.size] for part in self.parts for place in range(part.begin, part.length)]
        return torch.tensor(owners, device=self.device), self.positions_BT[0] % self.size

    @cached_property
    def tables(self) -> list[Tensor]:
        """The blocks of each text, as far as it reaches."""
        reach = [-(-part.length // self.size) for part in self.parts]
        rows = zip(self.parts, reach, strict=True)
        return [torch.tensor(part.blocks[:count], device=self.device) for part, count in rows]

    @cached_property
    def single_tables(self) -> tuple[Tensor, Tensor]:
        """For the kernel: the tables of the texts that read one token, filled up with 0, and their lengths."""
        tables_NM = torch.nn.utils.rnn.pad_sequence(self.tables[: self.singles], batch_first=True)
        return tables_NM, torch.tensor([part.length for part in self.parts[: self.singles]], device=self.device)

    def attend(
        self,
        layer: PagedLayer,
        attend: Callable[..., Tensor],
        q_BHTE: Tensor,
        k_BKTE: Tensor,
        v_BKTE: Tensor,
        sight: Sight,
        dropout: float,
        scale: float | None,
    ) -> Tensor:
        """Stores the new keys and values, and lets each text's queries see their own text."""
        blocks_N, places_N = self.cells
        layer.k_BKSE[blocks_N, :, places_N] = k_BKTE[0].transpose(0, 1).to(layer.k_BKSE)
        layer.v_BKSE[blocks_N, :, places_N] = v_BKTE[0].transpose(0, 1).to(layer.v_BKSE)
        found, start, first = [], 0, 0
        if self.kernel is not None and self.singles:
            start = first = self.singles
            q_NHE = q_BHTE[0, :, :start].transpose(0, 1).to(layer.k_BKSE)
            scale_ = q_NHE.shape[-1] ** -0.5 if scale is None else scale
            a_NHE = self.kernel(q_NHE, layer.k_BKSE, layer.v_BKSE, *self.single_tables, scale_)
            found.append(a_NHE.transpose(0, 1)[None].to(q_BHTE))
        for part, table in zip(self.parts[first:], self.tables[first:], strict=True):
            pools = layer.k_BKSE, layer.v_BKSE
            k_1KSE, v_1KSE = (side_by_side(pool, table, part.length).to(q_BHTE) for pool in pools)
            q_1HTE = q_BHTE[:, :, start : start + part.count]
            found.append(attend(q_1HTE, k_1KSE, v_1KSE, self.sight(part), dropout, scale))
            start += part.count
        return torch.cat(found, 2)

    def sight(self, part: Part) -> Sight:
        """What the tokens of a text see: all before them, and themselves."""
        if part.begin == 0:
            return CAUSAL
        if part.count == 1:
            return ALL
        queries_T = torch.arange(part.begin, part.length, device=self.device)
        return Sight(mask=(torch.arange(part.length, device=self.device) <= queries_T[:, None])[None, None])


@dataclass(frozen=True)
class TableView:
    """Texts that read one token each, as tensors of one shape for all: nothing here depends on their lengths.

    What a GPU is told once can then be repeated (`engine/replay`). Every text looks at as many blocks as the table has
    columns, and a mask hides what is behind its end.

    positions_BT: the place of each text's token, (1, N). tables_NM: its blocks, whatever number behind its end.
    """

    positions_BT: Tensor
    tables_NM: Tensor
    size: int
    fresh = True  # as far as masks go: it makes its own
    even = False

    @property
    def span(self) -> int:
        """Places that the tables reach."""
        return self.tables_NM.shape[1] * self.size

    def attend(
        self,
        layer: PagedLayer,
        attend: Callable[..., Tensor],
        q_BHTE: Tensor,
        k_BKTE: Tensor,
        v_BKTE: Tensor,
        sight: Sight,
        dropout: float,
        scale: float | None,
    ) -> Tensor:
        """As PagedView's: each text is a row of attention, its blocks laid side by side."""
        places_N = self.positions_BT[0]
        blocks_N = self.tables_NM.gather(1, places_N[:, None] // self.size)[:, 0]
        found = []
        for pool_BKSE, new_BKTE in ((layer.k_BKSE, k_BKTE), (layer.v_BKSE, v_BKTE)):
            pool_BKSE[blocks_N, :, places_N % self.size] = new_BKTE[0].transpose(0, 1)
            found.append(pool_BKSE[self.tables_NM].transpose(1, 2).flatten(2, 3))
        seen_NS = torch.arange(self.span, device=places_N.device) <= places_N[:, None]
        own = Sight(mask=seen_NS[:, None, None])
        a_NH1E = attend(q_BHTE[0].transpose(0, 1)[:, :, None], *found, own, dropout, scale)
        return a_NH1E[:, :, 0].transpose(0, 1)[None]


def side_by_side(pool_BKSE: Tensor, table_M: Tensor, length: int) -> Tensor:
    """The first `length` keys (or values) of a text out of its blocks, (1, K, S, E)."""
    return pool_BKSE[table_M].transpose(0, 1).flatten(1, 2)[None, :, :length]
