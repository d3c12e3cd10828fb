"""Packed = separate: documents side by side in a row give the scores that each gives in a row of its own.

Broken by attention that reaches into the document before, or by positions that go on counting. It shows as a training
loss that is a little too low, because the model has learnt to use text that it will not have.
"""

from collections.abc import Iterator

from nextword.verify.equality import Equality, Measured, Pair, predictions
from nextword.verify.rows import packed
from nextword.verify.subject import TOGETHER, Subject, read, read_alone


def measure(subject: Subject) -> Measured:
    """Documents packed into two rows, the second one padded, against each by itself."""
    return predictions(subject, pairs(subject))


def pairs(subject: Subject) -> Iterator[Pair]:
    """The logits of every token."""
    rows = subject.rows()
    wanted = read_alone(subject.model, rows)
    groups = [range(TOGETHER), range(TOGETHER, len(rows))]
    found_BTV, _ = read(subject.model, packed([[rows[number] for number in group] for group in groups], subject.fill))
    for group, found_TV in zip(groups, found_BTV, strict=True):
        at = 0
        for number in group:
            for place in range(len(rows[number])):
                yield f"token {place} of document {number} in its row", found_TV[at + place], wanted[number][place]
            at += len(rows[number])


def obstacle(subject: Subject) -> str | None:
    """Three documents of a token each must fit."""
    limit = subject.model.max_length
    return None if limit is None or limit >= TOGETHER else f"the model reads {limit} tokens at most"


EQUALITY = Equality(
    title="packed = separate",
    says="the logits of documents packed into rows, as segments, against those of each document by itself",
    obstacle=obstacle,
    measure=measure,
)
