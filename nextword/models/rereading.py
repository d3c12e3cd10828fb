"""A decoder whose angles change when a text outgrows the trained length: it then reads what it has read once more.

LongRoPE (`nextword.nn.position.rope`) has one set of frequencies for texts within the trained length and another for
longer ones. Keys that were cached with the first do not fit queries turned by the second, nor do the values of upper
layers. So the state keeps the ids, and the one step of a row that crosses the length reads all rows whole.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from nextword.models.base import Batch, Output
from nextword.models.mixed import extended
from nextword.models.transformer import Transformer
from nextword.nn.cache import KVCache


class RereadState(NamedTuple):
    """The state: the KV cache, every id read so far, and whether each row was read as a long text."""

    cache: KVCache
    ids_BS: Tensor
    long: tuple[bool, ...]

    @property
    def lengths_B(self) -> Tensor:
        """The tokens that each row has read."""
        return self.cache.lengths_B

    def select(self, rows: Tensor) -> "RereadState":
        """A copy of the given rows."""
        return RereadState(self.cache.select(rows), self.ids_BS[rows], tuple(self.long[row] for row in rows.tolist()))

    def crop(self, lengths_B: Tensor) -> "RereadState":
        """The state after the first `lengths_B` tokens of each row."""
        return RereadState(self.cache.crop(lengths_B), self.ids_BS, self.long)

    def fork(self, row: int, count: int) -> "RereadState":
        """`count` copies of one row."""
        return RereadState(
            self.cache.fork(row, count), self.ids_BS[row].expand(count, -1), self.long[row : row + 1] * count
        )


class RereadingTransformer(Transformer):
    """A Transformer with LongRoPE."""

    def start(self, rows: int, length: int) -> RereadState:  # noqa: D102 - as Transformer's
        cache = super().start(rows, length)
        ids_BS = torch.zeros(rows, 0, dtype=torch.int64, device=cache.lengths_B.device)
        return RereadState(cache, ids_BS, (False,) * rows)

    def hidden(self, batch: Batch, state: RereadState | None = None) -> Output:
        """hidden_BTD after the last norm; with a state, the tokens follow those that it holds."""
        if state is None:
            return super().hidden(batch)
        rows, time = batch.ids_BT.shape
        read = state.cache.lengths
        counts = [time] * rows if batch.mask_BT is None else batch.mask_BT.sum(1).tolist()
        longer = [old + new for old, new in zip(read, counts, strict=True)]
        places_BT = state.lengths_B[:, None] + torch.arange(time, device=batch.ids_BT.device)
        ids_BS = extended(state.ids_BS, batch.ids_BT, places_BT, max(read, default=0) + time)
        long = tuple(length > self.settings.rope.scaling.trained_length for length in longer)
        if all(old == new or not count for old, new, count in zip(state.long, long, read, strict=True)):
            out = super().hidden(batch, state.cache)
            return out._replace(state=RereadState(out.state, ids_BS, long))
        real_BS = (
            torch.arange(ids_BS.shape[1], device=ids_BS.device) < torch.tensor(longer, device=ids_BS.device)[:, None]
        )
        out = super().hidden(Batch(ids_BS, mask_BT=real_BS), super().start(rows, ids_BS.shape[1]))
        new_BTD = out.hidden_BTD.gather(1, places_BT[..., None].expand(-1, -1, out.hidden_BTD.shape[-1]))
        return out._replace(hidden_BTD=new_BTD, state=RereadState(out.state, ids_BS, long))
