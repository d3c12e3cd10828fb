"""Cached = uncached: reading a text bit by bit, with what was read before kept in a state, gives the scores of reading
it whole.

Broken by a cache that forgets a token or puts it in the wrong place, by positions that begin anew, by rows that are
mixed up when some leave the batch. It shows as generated text that is worse than the model's perplexity promises.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from nextword.core.errors import SettingsError
from nextword.engine.step import PlainSteps, stepper
from nextword.models.base import State
from nextword.quant import model as quantised
from nextword.verify.equality import Equality, Measured, Pair, predictions
from nextword.verify.rows import Row, padded
from nextword.verify.subject import Subject, read, read_alone

CHUNK = 3  # tokens read together after the first half; what follows is read one by one
GENERATED = 1000  # tokens for which a generation would decide whether a compiled step pays


def measure(subject: Subject) -> Measured:
    """Both ways of reading on with a state: the model's own and, where generation would use one, the compiled step."""
    rows = subject.rows()
    wanted = read_alone(subject.model, rows)
    found = list(pairs(subject, rows, wanted))
    note = ""
    if subject.model.kind == "decoder":
        compiled = list(compiled_pairs(subject, rows, wanted))
        found += compiled
        note = "the compiled step of generation included" if compiled else ""
    return predictions(subject, found, note)


def pairs(subject: Subject, rows: Sequence[Row], wanted: Sequence[Tensor]) -> Iterator[Pair]:
    """A batch of rows read in pieces; a row that ends leaves it, as in generation."""
    model = subject.model
    cuts = [pieces(row) for row in rows]
    going, read_T = list(range(len(rows))), [0] * len(rows)
    state: State = model.start(len(rows), subject.longest)
    for turn in range(max(map(len, cuts))):
        left = [number for number in going if turn < len(cuts[number])]
        if left != going:
            state = state.select(torch.tensor([going.index(number) for number in left]))
            going = left
        logits_BTV, after = read(model, padded([cuts[number][turn] for number in going], subject.fill), state)
        assert after is not None
        state = after if turn else taken_back(subject, after)
        for number, found_TV in zip(going, logits_BTV, strict=True):
            for found_V, _ in zip(found_TV, cuts[number][turn].ids, strict=False):
                place = read_T[number]
                yield f"token {place} of row {number}", found_V, wanted[number][place]
                read_T[number] += 1


def pieces(row: Row) -> list[Row]:
    """The first half of a row with its source, a few tokens, then one token at a time."""
    half = (len(row) + 1) // 2
    starts = [0, half, *range(half + CHUNK, len(row))]
    stops = [*starts[1:], len(row)]
    types = row.types or ()
    return [
        Row(row.ids[a:b], row.source if a == 0 else None, types[a:b] or None)
        for a, b in zip(starts, stops, strict=True)
        if a < min(b, len(row))
    ]


def taken_back(subject: Subject, state: State) -> State:
    """The state after reading one wrong token a row and taking it back, as speculation does, if the state can."""
    wrong = [Row((subject.fill,))] * len(state.lengths_B)
    lengths_B = state.lengths_B.clone()
    try:
        _, after = read(subject.model, padded(wrong, subject.fill), state.select(torch.arange(len(wrong))))
        assert after is not None
        return after.crop(lengths_B)
    except SettingsError:  # a recurrence keeps no history and says so
        return state


def compiled_pairs(subject: Subject, rows: Sequence[Row], wanted: Sequence[Tensor]) -> Iterator[Pair]:
    """The same by the compiled step that generation would use, if any: half a row at once, then token by token."""
    if quantised.of(subject.model) is not None:  # its compiled step rounds inputs, too: see `quantised`
        return
    steps = stepper(subject.model, GENERATED)
    if isinstance(steps, PlainSteps):
        return
    halves = [(len(row) + 1) // 2 for row in rows]
    logits_BV, state = steps.prefill([row.ids[:half] for row, half in zip(rows, halves, strict=True)], subject.longest)
    going, step = list(range(len(rows))), 0
    while True:
        for number, found_V in zip(going, logits_BV, strict=True):
            place = halves[number] + step - 1
            yield f"token {place} of row {number} (compiled)", found_V, wanted[number][place]
        left = [number for number in going if halves[number] + step < len(rows[number])]
        if not left:
            return
        if left != going:
            state = state.select(torch.tensor([going.index(number) for number in left]))
            going = left
        logits_BV, state = steps.step([rows[number].ids[halves[number] + step] for number in going], state)
        step += 1


def obstacle(subject: Subject) -> str | None:
    """An encoder has no state."""
    if subject.model.kind == "encoder":
        return "an encoder reads a text whole, both sides at once, and keeps nothing between calls"
    return None


EQUALITY = Equality(
    title="cached = uncached",
    says="the logits of texts read in pieces with a state, down to single tokens, against those of each read whole",
    obstacle=obstacle,
    measure=measure,
)
