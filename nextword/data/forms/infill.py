"""Text with a gap: the middle of half of the texts is moved behind the rest, and a decoder learns to write it there.

    text   a b | c d | e f        row   <|fim_prefix|> a b <|fim_suffix|> e f <|fim_middle|> c d

The model still predicts every next token, and so learns nothing less; but it can then be given both sides of a gap
(Bavarian et al., "Efficient Training of Language Models to Fill in the Middle", 2022: half of the texts cost nothing
in left-to-right loss). Each document in a window is cut by itself, so that a gap is filled from its own text.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nextword.core.errors import SettingsError
from nextword.data.form import Reads, Row, draw
from nextword.data.labelled import IGNORED, Ids, Labelled, real, stack
from nextword.data.marks import Marks, lacking

RATE = 0.5
ADDED = 3  # special tokens of a text with a gap
SHORTEST = 3  # tokens of a text with a gap: prefix, middle and suffix


class Infill:
    """Rows for the next token in which some texts have their middle at the end."""

    reads: Reads = "windows"
    extra = 1

    def __init__(self, marks: Marks, rate: float = RATE) -> None:
        """rate: share of the texts that get a gap."""
        if marks.infill is None:
            raise lacking("the tokens <|fim_prefix|>, <|fim_suffix|> and <|fim_middle|>", "infill")
        self.prefix, self.suffix, self.middle = marks.infill
        self.end, self.fill, self.rate = marks.eos, marks.fill, rate

    def room(self, length: int) -> int:
        """One token more than positions, the last label; rows of text with gaps lose three tokens a gap."""
        if length < ADDED + SHORTEST:
            raise SettingsError(
                f"rows of {length} tokens have no room for a gap and its three special tokens: use "
                f"{ADDED + SHORTEST} or more"
            )
        return length + 1

    def cost(self, tokens: int, length: int) -> int:
        """Windows are not packed."""
        return length

    def __call__(self, rows: Sequence[Row], length: int) -> Labelled:
        """Inputs and labels."""
        moved = [self.moved(row.pieces[0].astype(np.int64), draw(row)) for row in rows]
        inputs = [ids[:-1] for ids in moved]
        return Labelled(
            stack(inputs, self.fill, length=length),
            stack([ids[1:] for ids in moved], IGNORED, length=length),
            real(inputs, length),
            spans=tuple(span for row in rows for span in row.spans),
        )

    def moved(self, ids: NDArray[np.int64], random: np.random.Generator) -> Ids:
        """A window with gaps, no longer than it was: text at its end gives way to the special tokens."""
        texts = self.texts(ids)
        gaps = random.random(len(texts)) < self.rate
        left, found = len(ids), []
        for text, gap in zip(texts, gaps, strict=True):
            with_gap = gap and min(len(text), left - ADDED) >= SHORTEST + 1
            cut = text[: left - ADDED if with_gap else left]
            found.append(self.with_gap(cut, random) if with_gap else cut)
            left -= len(found[-1])
            if left <= 0:
                break
        return np.concatenate(found)

    def texts(self, ids: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        """The documents in a window, each with the token that ends it."""
        return np.split(ids, np.flatnonzero(ids[:-1] == self.end) + 1)

    def with_gap(self, text: NDArray[np.int64], random: np.random.Generator) -> NDArray[np.int64]:
        """Prefix, suffix, middle, the end of the document last; cut at two places drawn uniformly."""
        end = text[len(text) - 1 :] if text[-1] == self.end else text[:0]
        body = text[: len(text) - len(end)]
        first, second = sorted(random.integers(0, len(body) + 1, 2))
        marks = np.array([self.prefix, self.suffix, self.middle])
        parts = [marks[:1], body[:first], marks[1:2], body[second:], marks[2:], body[first:second], end]
        return np.concatenate(parts).astype(np.int64)
