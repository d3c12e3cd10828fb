"""Windows of tokens in random order, as an iterator that can be put down and taken up again to the sample.

The tokens of a split are one long row. Each epoch it is cut into windows of `length` tokens, from an offset that is
drawn anew so that the cuts fall elsewhere, and the windows are shuffled. Everything follows from (seed, epoch,
position), so that these three numbers are the whole state: a run that resumes sees the very rows that it would have
seen.

A window holds one token more than its length: position t is the input, position t + 1 its label.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nextword.core.errors import DataError

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
    """Where a stream stands: `position` windows of epoch `epoch` have been given."""

    seed: int
    epoch: int = 0
    position: int = 0

    def to_json(self) -> dict[str, int]:
        """The state as a small JSON object."""
        return asdict(self)


@dataclass(frozen=True)
class Windows:
    """Rows of one batch: ids_BT int64 (rows, length + 1), and the offset in the split at which each row starts."""

    ids_BT: Tensor
    starts: tuple[int, ...]


def windows(
    tokens: TokenRow, length: int, rows: int, seed: int, place: Place | None = None
) -> Iterator[tuple[Windows, Place]]:
    """Batches of `rows` windows without end, each with the place that follows it; starts from `place` if given.

    A batch at the end of an epoch is filled from the next one.
    Raises DataError when the tokens do not make one window.
    """
    check_length(tokens, length)
    place = place or Place(seed)
    order = starts_of_epoch(len(tokens), length, place)
    while True:
        starts: list[int] = []
        while len(starts) < rows:
            taken = order[place.position : place.position + rows - len(starts)]
            starts += taken.tolist()
            place = Place(place.seed, place.epoch, place.position + len(taken))
            if place.position == len(order):
                place = Place(place.seed, place.epoch + 1)
                order = starts_of_epoch(len(tokens), length, place)
        yield read_windows(tokens, starts, length), place


def check_length(tokens: TokenRow, length: int) -> None:
    """Raises DataError unless the tokens make at least one window."""
    if len(tokens) < length + 1:
        shorter = f", or set --train.length to at most {len(tokens) - 1:,}" if len(tokens) > 1 else ""
        raise DataError(
            f"the text has {len(tokens):,} tokens, and one training window needs {length + 1:,} (length {length:,} and "
            f"one label): give more text{shorter}"
        )


def starts_of_epoch(total: int, length: int, place: Place) -> npt.NDArray[np.int64]:
    """Where the windows of an epoch start, in the order in which they are given."""
    draw = np.random.default_rng([place.seed, place.epoch])
    offset = int(draw.integers(min(length, total - length)))
    count = (total - 1 - offset) // length
    return offset + length * draw.permutation(count)


def read_windows(tokens: TokenRow, starts: list[int], length: int) -> Windows:
    """The windows that start at the given offsets."""
    ids = np.empty((len(starts), length + 1), np.int64)
    for row, start in enumerate(starts):
        ids[row] = tokens.read(start, start + length + 1)
    return Windows(torch.from_numpy(ids), tuple(starts))


def documents_of(tokens: TokenRow, batch: Windows) -> str:
    """The documents that the rows of a batch were cut from, for an error message: numbers (from 0) and sources."""
    ends = tokens.documents[:, 0]
    found: dict[int, None] = {}
    for start in batch.starts:
        first, last = np.searchsorted(ends, [start, start + batch.ids_BT.shape[1] - 1], side="right")
        found.update(dict.fromkeys(range(int(first), min(int(last), len(ends) - 1) + 1)))
    named = [f"{document} ({tokens.sources[int(tokens.documents[document, 3])]})" for document in sorted(found)]
    more = f" and {len(named) - SHOWN_DOCUMENTS} more" if len(named) > SHOWN_DOCUMENTS else ""
    return "documents " + ", ".join(named[:SHOWN_DOCUMENTS]) + more
