"""Windows of tokens in random order, from a source that can be put down and taken up again to the sample.

The tokens of a split are one long row. Each epoch it is cut into windows, from an offset that is drawn anew so that the
cuts fall elsewhere, and the windows are shuffled. Everything follows from (seed, epoch, position), so that these three
numbers are the whole state: a run that resumes sees the very rows that it would have seen.

For the next token a window shares one token with the window after it: the last label of one is the first input of the
other.
"""

from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from nextword.core.errors import DataError
from nextword.data.form import Row
from nextword.data.labelled import Spans

Ids = npt.NDArray[Any]
SHOWN_DOCUMENTS = 8  # of those that an error message lists


class TokenRow(Protocol):
    """What a stream needs of a split's tokens (`data/shards.py` gives it from memory-mapped files)."""

    documents: npt.NDArray[np.int64]  # (N, 4): end offset in tokens, bytes, words, index of the source
    sources: Any  # the sources' names, by index

    def __len__(self) -> int: ...

    def read(self, start: int, stop: int) -> Ids:
        """The ids from `start` to `stop`."""
        ...


@dataclass(frozen=True)
class Place:
    """Where a source stands: `position` rows of epoch `epoch` have been given."""

    seed: int
    epoch: int = 0
    position: int = 0

    def after(self, rows: int) -> "Place":
        """So many rows of the same epoch later."""
        return Place(self.seed, self.epoch, self.position + rows)

    def to_json(self) -> dict[str, int]:
        """The state as a small JSON object."""
        return asdict(self)


class TextSource(Protocol):
    """Text for rows, without end. place: where it stands, of which every row that follows is a function."""

    place: Place

    def take(self, rows: int) -> list[Row]:
        """The next rows; those that an epoch lacks come from the next one."""
        ...

    def fixed(self, rows: int) -> list[Row]:
        """About so many rows, spread over the split, always the same ones."""
        ...


class Windows:
    """Windows of `length` + `extra` tokens whose first `length` tokens no other window of the epoch has."""

    def __init__(self, tokens: TokenRow, length: int, place: Place, extra: int = 1) -> None:
        """Raises DataError when the tokens do not make one window."""
        check_length(tokens, length, extra)
        self.tokens, self.length, self.extra = tokens, length, extra
        self.place = place
        self.starts = starts_of_epoch(len(tokens), length, place, extra)

    def take(self, rows: int) -> list[Row]:
        """The next windows."""
        found: list[Row] = []
        while len(found) < rows:
            place = self.place
            taken = self.starts[place.position : place.position + rows - len(found)]
            found += [self.window(int(start), place) for start in taken]
            self.place = place.after(len(taken))
            if self.place.position == len(self.starts):
                self.place = Place(place.seed, place.epoch + 1)
                self.starts = starts_of_epoch(len(self.tokens), self.length, self.place, self.extra)
        return found

    def fixed(self, rows: int) -> list[Row]:
        """Windows at even distances."""
        last = len(self.tokens) - self.length - self.extra
        count = max(1, min(rows, (len(self.tokens) - self.extra) // self.length))
        return [self.window(int(start), Place(0)) for start in np.linspace(0, last, count).astype(np.int64)]

    def window(self, start: int, place: Place) -> Row:
        """The window that starts at an offset."""
        stop = start + self.length + self.extra
        return Row((self.tokens.read(start, stop),), (place.seed, place.epoch, start), ((start, stop),))


def check_length(tokens: TokenRow, length: int, extra: int = 1) -> None:
    """Raises DataError unless the tokens make at least one window."""
    if len(tokens) < length + extra:
        parts = f" (length {length:,} and one label)" if extra else ""
        most = len(tokens) - extra
        shorter = f", or set --train.length to at most {most:,}" if most > 0 else ""
        raise DataError(
            f"the text has {len(tokens):,} tokens, and one training window needs {length + extra:,}{parts}: "
            f"give more text{shorter}"
        )


def starts_of_epoch(total: int, length: int, place: Place, extra: int = 1) -> npt.NDArray[np.int64]:
    """Where the windows of an epoch start, in the order in which they are given."""
    draw = np.random.default_rng([place.seed, place.epoch])
    offset = int(draw.integers(min(length, total - length - extra + 1)))
    count = (total - extra - offset) // length
    return offset + length * draw.permutation(count)


def documents_of(tokens: TokenRow, spans: Spans) -> str:
    """The documents that lie in (start, stop) spans of a split, for an error message: numbers (from 0) and sources."""
    ends = tokens.documents[:, 0]
    found: dict[int, None] = {}
    for start, stop in spans:
        first, last = np.searchsorted(ends, [start, stop - 1], side="right")
        found.update(dict.fromkeys(range(int(first), min(int(last), len(ends) - 1) + 1)))
    named = [f"{document} ({tokens.sources[int(tokens.documents[document, 3])]})" for document in sorted(found)]
    more = f" and {len(named) - SHOWN_DOCUMENTS} more" if len(named) > SHOWN_DOCUMENTS else ""
    return "documents " + ", ".join(named[:SHOWN_DOCUMENTS]) + more
