"""A decoder whose angles change when a text outgrows the trained length: it then reads what it has read once more.

LongRoPE (`nextword.nn.position.rope`) has one set of frequencies for texts within the trained length and another for
longer ones. Keys that were cached with the first do not fit queries turned by the second, nor do the values of upper
layers. So the state keeps the ids, and the one step of a row that crosses the length reads all rows whole.
"""

import torch

from nextword.models.base import Batch, Output
from nextword.models.read_state import ReadState, extended, nothing_read
from nextword.models.transformer import Transformer


class RereadingTransformer(Transformer):
    """A Transformer with LongRoPE."""

    def start(self, rows: int, length: int) -> ReadState:  # noqa: D102 - as Transformer's
        return nothing_read(super().start(rows, length))._replace(long=(False,) * rows)

    def hidden(self, batch: Batch, state: ReadState | None = None) -> Output:
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
            return out._replace(state=ReadState(out.state, ids_BS, long))
        real_BS = (
            torch.arange(ids_BS.shape[1], device=ids_BS.device) < torch.tensor(longer, device=ids_BS.device)[:, None]
        )
        out = super().hidden(Batch(ids_BS, mask_BT=real_BS), super().start(rows, ids_BS.shape[1]))
        new_BTD = out.hidden_BTD.gather(1, places_BT[..., None].expand(-1, -1, out.hidden_BTD.shape[-1]))
        return out._replace(hidden_BTD=new_BTD, state=ReadState(out.state, ids_BS, long))
