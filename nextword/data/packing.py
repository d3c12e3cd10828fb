"""Whole documents packed into rows, so that little is padding and no document is cut that need not be.

Best fit: each document goes into the fullest row that still has room for it. With the documents in random order this
fills rows to some 97 % (Johnson 1974). Documents of a row do not see each other: forms number them (`segments_BT`), so
that a packed document has the loss that it has in a row of its own (Krell et al., "Efficient Sequence Packing without
Cross-contamination", 2021).

Packing is done a group of documents at a time, so that an epoch of any size starts at once; a source that is taken up
again packs the groups up to its place anew.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from itertools import islice

import numpy as np

from nextword.data import documents
from nextword.data.form import Row
from nextword.data.stream import Place, TokenRow

GROUP = 1 << 14  # documents that are packed together


class Packed:
    """Rows of whole documents. room: tokens of a document that fills a row; cost: what so many tokens take of it."""

    def __init__(self, tokens: TokenRow, room: int, length: int, cost: Callable[[int], int], place: Place) -> None:
        """Raises DataError when no document holds any text."""
        self.tokens, self.length, self.cost, self.place = tokens, length, cost, place
        self.pieces = documents.pieces_of(tokens, room)
        self.rows = self.epoch()

    def epoch(self) -> Iterator[list[int]]:
        """The rows of the epoch, from the place on, as numbers of pieces."""
        return islice(self.packed(self.pieces, documents.order(self.pieces, self.place)), self.place.position, None)

    def packed(self, pieces: documents.Pieces, order: Sequence[int] | np.ndarray) -> Iterator[list[int]]:
        """All rows, group by group."""
        for start in range(0, len(order), GROUP):
            group = [int(number) for number in order[start : start + GROUP]]
            costs = [self.cost(int(pieces[number, 1] - pieces[number, 0])) for number in group]
            yield from ([group[item] for item in row] for row in best_fit(costs, self.length))

    def take(self, rows: int) -> list[Row]:
        """The next rows."""
        found: list[Row] = []
        while len(found) < rows:
            numbers = next(self.rows, None)
            if numbers is None:
                self.place = Place(self.place.seed, self.place.epoch + 1)
                self.rows = self.epoch()
                continue
            found.append(self.row(self.pieces, numbers, (self.place.seed, self.place.epoch, self.place.position)))
            self.place = self.place.after(1)
        return found

    def fixed(self, rows: int) -> list[Row]:
        """Rows of documents at even distances."""
        mean = sum(self.cost(int(stop - start)) for start, stop, _ in self.pieces[:GROUP]) / len(self.pieces[:GROUP])
        some = documents.spread(self.pieces, int(np.ceil(rows * self.length / mean)))
        packed = islice(self.packed(some, range(len(some))), rows)
        return [self.row(some, numbers, (0, 0, number)) for number, numbers in enumerate(packed)]

    def row(self, pieces: documents.Pieces, numbers: Sequence[int], key: tuple[int, ...]) -> Row:
        """The pieces of these numbers as a row."""
        read = [documents.read(self.tokens, pieces, number) for number in numbers]
        return Row(tuple(ids for ids, _ in read), key, tuple(span for _, span in read))


def best_fit(costs: Sequence[int], capacity: int) -> list[list[int]]:
    """Rows of items (by number) whose costs add up to at most `capacity`; each item alone must fit.

    The rows that have room left are kept by how much, and which amounts occur stands in the bits of one number, so
    that the fullest row with room enough is found at once.

    >>> best_fit([3, 5, 2, 4], 7)
    [[0, 3], [1, 2]]
    """
    rows: list[list[int]] = []
    with_room: dict[int, list[int]] = defaultdict(list)
    occurs = 0
    for item, cost in enumerate(costs):
        enough = occurs >> cost
        if enough:
            room = cost + (enough & -enough).bit_length() - 1
            row = with_room[room].pop()
            if not with_room[room]:
                occurs ^= 1 << room
        else:
            room, row = capacity, len(rows)
            rows.append([])
        rows[row].append(item)
        left = room - cost
        if left > 0:
            with_room[left].append(row)
            occurs |= 1 << left
    return rows
