"""Documents in twos: one to be cut into a first and a second sentence, and a random other one for the wrong second."""

import numpy as np

from nextword.core.errors import DataError
from nextword.data import documents
from nextword.data.form import Row
from nextword.data.stream import Place, TokenRow

SALT = 1  # of the draw of the other document, apart from what a form draws


class Pairs:
    """Rows of two pieces, (document, another document), each of at most `room` tokens."""

    def __init__(self, tokens: TokenRow, room: int, place: Place) -> None:
        """Raises DataError when there are not two documents with text."""
        self.tokens, self.place = tokens, place
        self.pieces = documents.pieces_of(tokens, room)
        if len(np.unique(self.pieces[:, 2])) < 2:
            raise DataError("sentence pairs need a second document to take wrong sentences from: give more documents")
        self.order = documents.order(self.pieces, place)

    def take(self, rows: int) -> list[Row]:
        """The next rows."""
        found: list[Row] = []
        while len(found) < rows:
            if self.place.position == len(self.order):
                self.place = Place(self.place.seed, self.place.epoch + 1)
                self.order = documents.order(self.pieces, self.place)
            found.append(self.row(int(self.order[self.place.position]), self.place))
            self.place = self.place.after(1)
        return found

    def fixed(self, rows: int) -> list[Row]:
        """Documents at even distances."""
        count = max(1, min(rows, len(self.pieces)))
        numbers = np.linspace(0, len(self.pieces) - 1, count).astype(np.int64)
        return [self.row(int(number), Place(0, 0, index)) for index, number in enumerate(numbers)]

    def row(self, number: int, place: Place) -> Row:
        """A piece and one of another document."""
        key = (place.seed, place.epoch, place.position)
        draw = np.random.default_rng([*key, SALT])
        other = number
        while self.pieces[other, 2] == self.pieces[number, 2]:
            other = int(draw.integers(len(self.pieces)))
        read = [documents.read(self.tokens, self.pieces, one) for one in (number, other)]
        return Row((read[0][0], read[1][0]), key, (read[0][1], read[1][1]))
