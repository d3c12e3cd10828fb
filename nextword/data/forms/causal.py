"""The text as it is, each token to be predicted from those before it.

    inputs  a b c d        labels  b c d e

Windows of the stream give T inputs and T labels out of T + 1 tokens. Packed documents begin with the token that begins
a text, and the first token of a document is predicted from it; the label of its last input is the token that ends it.
"""

from collections.abc import Sequence

import numpy as np
import torch

from nextword.data.form import Reads, Row
from nextword.data.labelled import IGNORED, Labelled, numbered, real, stack
from nextword.data.marks import Marks


class Causal:
    """Rows for the next token, out of windows or packed documents."""

    def __init__(self, marks: Marks | None = None, packed: bool = False) -> None:
        """marks: needed for packed documents, which begin with `bos`."""
        self.reads: Reads = "documents" if packed else "windows"
        self.extra = 0 if packed else 1
        self.marks = marks or Marks(0)

    def room(self, length: int) -> int:
        """Windows hold one token more than the row; of a packed document all tokens are labels."""
        return length + self.extra

    def cost(self, tokens: int, length: int) -> int:
        """A document takes as many positions as it has labels."""
        return tokens

    def __call__(self, rows: Sequence[Row], length: int) -> Labelled:
        """Inputs and labels."""
        spans = tuple(span for row in rows for span in row.spans)
        if self.reads == "windows":
            ids_BT = torch.from_numpy(np.stack([row.pieces[0] for row in rows]).astype(np.int64))
            return Labelled(ids_BT[:, :-1], ids_BT[:, 1:], spans=spans)
        labels = [np.concatenate(row.pieces) for row in rows]
        inputs = [np.concatenate([[self.marks.bos, *piece[:-1]] for piece in row.pieces]) for row in rows]
        return Labelled(
            stack(inputs, self.marks.fill, length=length),
            stack(labels, IGNORED, length=length),
            real(inputs, length),
            numbered([row.pieces for row in rows], length),
            spans=spans,
        )
