"""Served = trained: what the engine says of a text among others is what the model says of it alone and whole.

Broken by a block of the cache that belongs to two texts, by a beginning that is taken for another's, by chunks of a
prompt that do not see each other, by a text that gave up its blocks and does not come back as it was. It shows as
answers that depend on who else asks.
"""

from collections.abc import Iterator, Sequence

from torch import Tensor

from nextword.decode.settings import SamplingSettings
from nextword.engine.engine import Engine
from nextword.engine.request import Request
from nextword.engine.scheduler import Work
from nextword.engine.settings import EngineSettings
from nextword.engine.step import Compiled
from nextword.quant import model as quantised
from nextword.verify.equality import Equality, Measured, Pair, predictions
from nextword.verify.rows import Row
from nextword.verify.subject import Subject, read_alone

NEW = 6  # tokens that each text is continued by
ROWS, STEP_TOKENS, BLOCK = 3, 7, 4  # so small that texts wait, prompts are read in chunks and blocks are shared


class Watched(Engine):
    """An engine that keeps what its model said: the text so far, and the logits of the next token."""

    def __init__(self, subject: Subject, places: int, compiled: Compiled) -> None:
        sizes = EngineSettings(rows=ROWS, step_tokens=STEP_TOKENS, block=BLOCK, cache_tokens=places)
        super().__init__(subject.model, sizes, compiled)
        self.said: dict[int, list[tuple[tuple[int, ...], Tensor]]] = {}

    def read(self, works: Sequence[Work]) -> Tensor:
        """Reads, and writes down."""
        logits_NV = super().read(works)
        for work, logits_V in zip([work for work in works if work.last], logits_NV, strict=True):
            self.said.setdefault(work.text.number, []).append((tuple(work.text.ids), logits_V.clone()))
        return logits_NV


def measure(subject: Subject) -> Measured:
    """Texts continued together, two of them with the same beginning, in a cache that cannot hold them all.

    By the model's own step and, where the engine would use one, by the compiled step.
    """
    found = list(pairs(subject, "never"))
    few = quantised.of(subject.model) is not None  # its compiled step rounds inputs, too: see `quantised`
    compiled = list(pairs(subject, "auto")) if subject.model.kind == "decoder" and not few else []
    return predictions(subject, found + compiled, "the compiled step of the engine included" if compiled else "")


def pairs(subject: Subject, compiled: Compiled) -> Iterator[Pair]:
    """Every new token's logits, against those of its text read whole."""
    rows = subject.rows()
    rows.append(max(rows, key=len))
    engine = Watched(subject, max(BLOCK, 2 * (subject.longest + NEW)), compiled)
    if compiled != "never" and not engine.reader.compiled:
        return
    numbers = [engine.add(asked(row)) for row in rows]
    while engine.open:
        for _, found in engine.step():
            if isinstance(found, Exception):
                raise found
    said = [engine.said[number] for number in numbers]
    whole = [Row(steps[-1][0], row.source) for steps, row in zip(said, rows, strict=True)]
    for number, (steps, wanted_TV) in enumerate(zip(said, read_alone(subject.model, whole), strict=True)):
        for ids, logits_V in steps:
            yield f"token {len(ids)} of row {number}", logits_V, wanted_TV[len(ids) - 1][: len(logits_V)]


def asked(row: Row) -> Request:
    """A row to be continued greedily."""
    return Request(row.ids, SamplingSettings(temperature=0, max_tokens=NEW), source=row.source)


def obstacle(subject: Subject) -> str | None:
    """An encoder does not continue a text."""
    if subject.model.kind == "encoder":
        return "an encoder does not continue texts: it is not served by the engine"
    return None


EQUALITY = Equality(
    title="served = trained",
    says="the logits of texts continued together by the engine, against those of each text read alone and whole",
    obstacle=obstacle,
    measure=measure,
)
