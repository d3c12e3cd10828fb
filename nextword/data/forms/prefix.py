"""A text cut in two at random: the first part is given, the second is to be written.

    encoder-decoder     source  a b c </s>      target  d e f </s>
    decoder             inputs  a b c d e       labels  - - d e f      the prefix is read, but not predicted

With an encoder the prefix is seen from both sides, which is what makes it one (Liu et al., "Generating Wikipedia by
Summarizing Long Sequences", 2018; Raffel et al., 2020, section 3.2); a decoder alone reads it from left to right.
"""

from collections.abc import Sequence

import numpy as np
import torch

from nextword.core.errors import SettingsError
from nextword.data.form import Reads, Row, draw
from nextword.data.labelled import IGNORED, Labelled, Source, real, stack
from nextword.data.marks import Marks, needed

SHORTEST = 2  # tokens: one to be read and one to be written


class Prefix:
    """Rows of a decoder: the labels begin behind a random prefix."""

    reads: Reads = "windows"
    extra = 1

    def room(self, length: int) -> int:
        """One token more than positions, the last label."""
        return shortest(length) + 1

    def cost(self, tokens: int, length: int) -> int:
        """Windows are not packed."""
        return length

    def __call__(self, rows: Sequence[Row], length: int) -> Labelled:
        """Inputs and labels."""
        ids_BT = torch.from_numpy(np.stack([row.pieces[0] for row in rows]).astype(np.int64))
        cuts_B = torch.tensor([int(draw(row).integers(1, ids_BT.shape[1])) for row in rows])
        written_BT = torch.arange(1, ids_BT.shape[1]) >= cuts_B[:, None]
        labels_BT = torch.where(written_BT, ids_BT[:, 1:], IGNORED)
        return Labelled(ids_BT[:, :-1], labels_BT, spans=tuple(span for row in rows for span in row.spans))


class SourcePrefix:
    """Rows of an encoder-decoder: a random prefix is the source, the rest the target."""

    reads: Reads = "windows"
    extra = 0

    def __init__(self, marks: Marks) -> None:
        self.end = needed(marks.eos, "a token that ends a text, such as </s>,", "t5")
        self.start = needed(marks.pad, "a padding token, which begins the decoder's input,", "t5")
        self.fill = marks.fill

    def room(self, length: int) -> int:
        """All but the end; prefix and rest together are one row long."""
        return shortest(length - 1)

    def cost(self, tokens: int, length: int) -> int:
        """Windows are not packed."""
        return length

    def __call__(self, rows: Sequence[Row], length: int) -> Labelled:
        """Decoder inputs and labels, with the source."""
        sources, inputs, labels = [], [], []
        for row in rows:
            ids = row.pieces[0].astype(np.int64)
            cut = int(draw(row).integers(1, len(ids)))
            sources.append(np.append(ids[:cut], self.end))
            labels.append(np.append(ids[cut:], self.end))
            inputs.append(np.concatenate([[self.start], ids[cut:]]))
        return Labelled(
            stack(inputs, self.fill),
            stack(labels, IGNORED),
            real(inputs),
            source=Source(stack(sources, self.fill), real(sources)),
            spans=tuple(span for row in rows for span in row.spans),
        )


def shortest(tokens: int) -> int:
    """The number itself; SettingsError where so many tokens cannot be cut in two."""
    if tokens < SHORTEST:
        raise SettingsError("rows this short have no room for a prefix and what follows it: use 3 tokens or more")
    return tokens
