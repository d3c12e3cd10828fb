"""Batched = single: a text gives the same scores whoever shares its batch, and whatever stands in its padding.

Broken by a mask that lets padding be seen, by positions that count it, or by a state that goes on through it. It shows
as generations and perplexities that change with the batch size.
"""

from collections.abc import Iterator

from nextword.verify.equality import Equality, Measured, Pair, predictions
from nextword.verify.rows import padded
from nextword.verify.subject import Subject, read, read_alone


def measure(subject: Subject) -> Measured:
    """Rows of different lengths in one padded batch, against each by itself."""
    return predictions(subject, pairs(subject))


def pairs(subject: Subject) -> Iterator[Pair]:
    """The logits of every real token."""
    rows = subject.rows()
    found_BTV, _ = read(subject.model, padded(rows, subject.fill))
    for number, (row, wanted_TV) in enumerate(zip(rows, read_alone(subject.model, rows), strict=True)):
        for place in range(len(row)):
            yield f"token {place} of row {number}, of {len(row)} tokens", found_BTV[number, place], wanted_TV[place]


EQUALITY = Equality(
    title="batched = single",
    says="the logits of texts of different lengths, padded into one batch, against those of each text by itself",
    obstacle=lambda subject: None,
    measure=measure,
)
