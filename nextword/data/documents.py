"""Documents as pieces that fit into a row: short ones whole, long ones cut."""

import numpy as np
import numpy.typing as npt

from nextword.core.errors import DataError
from nextword.data.stream import Ids, Place, TokenRow

SHORTEST = 2  # tokens of a piece: the token that ends a document is no text by itself

Pieces = npt.NDArray[np.int64]  # (N, 3): start, stop, number of the document


def pieces_of(tokens: TokenRow, room: int) -> Pieces:
    """Every document, or where it is longer than `room` tokens every stretch of that length, in order.

    DataError when no document holds any text.
    """
    ends = np.asarray(tokens.documents[:, 0], np.int64)
    starts = np.concatenate([np.zeros(1, np.int64), ends[:-1]])
    counts = -(-(ends - starts) // room)
    document = np.repeat(np.arange(len(ends)), counts)
    within = np.arange(int(counts.sum())) - np.repeat(np.cumsum(counts) - counts, counts)
    start = starts[document] + within * room
    found: Pieces = np.stack([start, np.minimum(start + room, ends[document]), document], 1)
    found = found[found[:, 1] - found[:, 0] >= SHORTEST]
    if not len(found):
        raise DataError("every document is empty: a row of them would be all padding; give text")
    return found


def order(pieces: Pieces, place: Place) -> npt.NDArray[np.int64]:
    """The order of the pieces in an epoch."""
    return np.random.default_rng([place.seed, place.epoch]).permutation(len(pieces))


def read(tokens: TokenRow, pieces: Pieces, number: int) -> tuple[Ids, tuple[int, int]]:
    """A piece's ids, and where it stands."""
    start, stop = int(pieces[number, 0]), int(pieces[number, 1])
    return tokens.read(start, stop), (start, stop)


def spread(pieces: Pieces, count: int) -> Pieces:
    """About `count` pieces at even distances."""
    count = max(1, min(count, len(pieces)))
    return pieces[np.linspace(0, len(pieces) - 1, count).astype(np.int64)]
