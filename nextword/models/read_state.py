"""The state of decoders that need the ids read so far beside the keys and values of them.

One looks n-grams up across calls (`nextword.models.mixed`), another reads a text once more when it outgrows the length
that it was trained on (`nextword.models.rereading`).
"""

from typing import NamedTuple

import torch
from torch import Tensor

from nextword.nn.cache import KVCache


class ReadState(NamedTuple):
    """The KV cache, and every id read so far, ids_BS, of which a row's first `lengths_B` count.

    long: whether each row was read as a long text; empty where that makes no difference.
    """

    cache: KVCache
    ids_BS: Tensor
    long: tuple[bool, ...] = ()

    @property
    def lengths_B(self) -> Tensor:
        """The tokens that each row has read."""
        return self.cache.lengths_B

    def select(self, rows: Tensor) -> "ReadState":
        """A copy of the given rows."""
        long = tuple(self.long[row] for row in rows.tolist()) if self.long else ()
        return ReadState(self.cache.select(rows), self.ids_BS[rows], long)

    def crop(self, lengths_B: Tensor) -> "ReadState":
        """The state after the first `lengths_B` tokens of each row."""
        return ReadState(self.cache.crop(lengths_B), self.ids_BS, self.long)

    def fork(self, row: int, count: int) -> "ReadState":
        """`count` copies of one row."""
        ids_BS = self.ids_BS[row].expand(count, -1)
        return ReadState(self.cache.fork(row, count), ids_BS, self.long[row : row + 1] * count)


def nothing_read(cache: KVCache) -> ReadState:
    """The state of rows that have read nothing, of whose keys and values this is the cache."""
    lengths_B = cache.lengths_B
    return ReadState(cache, torch.zeros(len(lengths_B), 0, dtype=torch.int64, device=lengths_B.device))


def extended(ids_BS: Tensor, ids_BT: Tensor, places_BT: Tensor, span: int) -> Tensor:
    """The ids of `ids_BS` with new ones at their places, (B, span)."""
    rows = len(ids_BT)
    longer_BS = ids_BS.new_zeros(rows, span)
    kept = min(span, ids_BS.shape[1])
    longer_BS[:, :kept] = ids_BS[:, :kept]
    return longer_BS.scatter_(1, places_BT.expand(rows, -1), ids_BT)
