"""The step of many texts that read one token each, over their blocks, recorded once and repeated (`engine/replay`).

It is what an engine does most of the time. Ids, places and tables of blocks are written into tensors that stay where
they are; texts and columns of the tables are filled up to powers of two, texts by the last one once more, which writes
the same numbers to the same cell. A table reaches as far as the longest text's: each recording is of one size.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from nextword.engine.replay import Recorder
from nextword.engine.scheduler import Work
from nextword.engine.static import power_of_two, tables_of
from nextword.models.base import Batch
from nextword.models.stack import Places
from nextword.models.transformer import Transformer
from nextword.nn.paged import PagedCache, PagedLayer, TableView

FEWEST_COLUMNS = 8  # blocks that a table has at least


class StaticPages:
    """Reads works of one token each."""

    def __init__(self, model: Transformer, cache: PagedCache, longest: int, recorder: Recorder) -> None:
        """longest: places that a text may need at most."""
        self.model, self.cache, self.recorder = model, cache, recorder
        self.longest = longest
        # by texts and columns: the inputs, the repetition, and tables that it reads, kept alive as long as it may
        self.recorded: dict[tuple[int, int], tuple[Tensor, Callable[[], Tensor], list[Tensor]]] = {}

    def read(self, works: Sequence[Work]) -> Tensor:
        """logits_NV after each text."""
        size = self.cache.size
        reach = max(-(-(work.text.read + 1) // size) for work in works)
        shape = power_of_two(len(works)), power_of_two(reach, FEWEST_COLUMNS)
        filled = self.filled(works, *shape)
        if shape not in self.recorded:
            inputs = filled.to(self.cache.layers[0].k_BKSE.device)
            tables = tables_of(self.model, self.model.max_length or 2 * self.longest)
            buffers = [x_BKSE for layer in self.cache.layers for x_BKSE in (layer.k_BKSE, layer.v_BKSE)]
            self.recorded[shape] = inputs, self.recorder(self.work, (inputs, *buffers)), tables
        inputs, repeat, _ = self.recorded[shape]
        inputs.copy_(filled)
        return repeat()[: len(works)].clone()

    def filled(self, works: Sequence[Work], texts: int, columns: int) -> Tensor:
        """A line for each text: its token, the token's place, and its blocks, (N, 2 + M)."""
        lines = []
        for work in works:
            blocks = work.text.blocks[:columns]
            lines.append([*work.ids, work.text.read, *blocks, *[0] * (columns - len(blocks))])
        return torch.tensor([*lines, *[lines[-1]] * (texts - len(lines))])

    def work(self, lines_NM: Tensor, *buffers: Tensor) -> Tensor:
        """The step itself: logits (N, V); keys and values go into the blocks."""
        model, size = self.model, self.cache.size
        ids_1N, positions_1N, tables_NM = lines_NM[None, :, 0], lines_NM[None, :, 1], lines_NM[:, 2:]
        cache = PagedCache([PagedLayer(*pair) for pair in zip(buffers[::2], buffers[1::2], strict=True)])
        view = TableView(positions_1N, tables_NM, size)
        span = min(view.span, model.max_length or view.span)
        places = Places(positions_1N, span, None, None, view)
        return model.logits(model.through(Batch(ids_1N), places, cache)[0])
