"""What a form is: a way to make rows of text into something to be learnt.

Each file of `nextword/data/forms` is one form. The text comes from a source (`nextword/data/stream.py` cuts windows out
of the stream of tokens, `nextword/data/packing.py` puts whole documents side by side, `nextword/data/pairs.py` sets two
documents together) as `Row`s; a form gives them the special tokens that the model expects, hides or moves what is to be
predicted, and says what the labels are. Whatever it draws, it draws from the row's key, which says where the row stands
in the stream: so the n-th row of an epoch looks the same in a run that was killed and goes on, in one that computes in
parts, and on any number of processes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from nextword.data.labelled import Ids, Labelled, Spans

Reads = Literal["windows", "documents", "pairs"]


@dataclass(frozen=True)
class Row:
    """Text for one row: its pieces (documents, or a single window), where it came from, and what its randomness is.

    key: (seed, epoch, place). spans: (start, stop) of each piece in the split's tokens.
    """

    pieces: tuple[Ids, ...]
    key: tuple[int, ...]
    spans: Spans


class Form(Protocol):
    """Turns rows of text into inputs and labels.

    reads: which source it takes its text from. extra: tokens that a window shares with the one after it (1 where the
    last label of a window is the first input of the next).
    """

    reads: Reads
    extra: int

    def room(self, length: int) -> int:
        """Tokens of text in a full row of `length` positions; SettingsError where the special tokens leave none."""
        ...

    def cost(self, tokens: int, length: int) -> int:
        """What a document of so many tokens takes of the room of a row of `length` positions in which it is packed."""
        ...

    def __call__(self, rows: Sequence[Row], length: int) -> Labelled:
        """The rows as inputs and labels of at most `length` positions each."""
        ...


def draw(row: Row, salt: int = 0) -> np.random.Generator:
    """The generator of all that is random in a row; another `salt` gives an independent one."""
    return np.random.default_rng([*row.key, salt])
