"""Batches for training: text from a source, made into inputs and labels by a form."""

from collections.abc import Sequence

from nextword.data.form import Form, Row
from nextword.data.labelled import Ids, Labelled
from nextword.data.packing import Packed
from nextword.data.pairs import Pairs
from nextword.data.stream import Place, TextSource, TokenRow, Windows

ALL = slice(None)


def open_source(tokens: TokenRow, form: Form, length: int, place: Place) -> TextSource:
    """The source that a form reads, for rows of `length` positions; DataError where the tokens do not make one row."""
    room = form.room(length)
    if form.reads == "documents":
        return Packed(tokens, room, length, lambda tokens: form.cost(tokens, length), place)
    if form.reads == "pairs":
        return Pairs(tokens, room, place)
    return Windows(tokens, room - form.extra, place, form.extra)


class Feed:
    """Batches without end from `place` on. length: positions of a row, or of the longest while rows still grow."""

    def __init__(self, tokens: TokenRow, form: Form, length: int, place: Place) -> None:
        self.form, self.length = form, length
        self.source = open_source(tokens, form, length, place)

    @property
    def place(self) -> Place:
        """Where it stands, after the rows that have been taken."""
        return self.source.place

    def take(self, rows: int, length: int | None = None, mine: slice = ALL) -> Labelled:
        """The next rows; with a `length`, of the first so many positions only. mine: those of them that are made.

        Processes that share a batch take the same rows from the source, and each makes its own.
        """
        return make(self.form, self.source.take(rows)[mine], self.length if length is None else length)


def make(form: Form, rows: Sequence[Row], length: int) -> Labelled:
    """The rows in a form, their text cut to what `length` positions take."""
    return form([fitted(row, form, length) for row in rows], length)


def fitted(row: Row, form: Form, length: int) -> Row:
    """The row with as much of its text as fits; one that fits is left as it is."""
    room = form.room(length)
    if form.reads != "documents":
        if all(len(piece) <= room for piece in row.pieces):
            return row
        pieces: list[Ids] = [piece[:room] for piece in row.pieces]
    else:
        left, pieces = length, []
        for piece in row.pieces:
            left -= form.cost(len(piece), length)
            if left < 0:
                break
            pieces.append(piece)
        pieces = pieces or [row.pieces[0][:room]]
    spans = tuple((start, start + len(piece)) for piece, (start, _) in zip(pieces, row.spans, strict=False))
    return Row(tuple(pieces), row.key, spans)
