"""Many texts at once: they join and leave at every step, and what one gets does not depend on who else is there.

    add(request) -> number     cancel(number)     step() -> events, each a number with a Step or with an error

Every text draws from a generator of its own, so what it gets differs from what it gets alone by rounding only: a matrix
product of other rows sums in another order. Where the two best scores are closer than that (`NEAR`), greedy may choose
the other. (Weights of few bits, read by compiled steps, add in one order: there it is the same to the last
bit.) An error of one text (scores that are not finite, settings that forbid every token) ends that text alone.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from nextword.core.errors import NextwordError, SettingsError
from nextword.decode.row import Row, Step
from nextword.decode.strategies import sample
from nextword.decode.strategy import Reading, Tools, name_of
from nextword.engine.reading import TOKENS, ApartReader, PagedReader, pages
from nextword.engine.request import Request
from nextword.engine.scheduler import Scheduler, Text, Work
from nextword.engine.settings import EngineSettings
from nextword.engine.step import Compiled, check_ids, stepper
from nextword.models.base import LanguageModel
from nextword.models.transformer import Transformer

NEAR = 1e-3  # log-probabilities closer than this may change places with the rows that share a step
Event = tuple[int, Step | NextwordError]  # the number of a request, and what became of it


class Engine:
    """Continues requests that come and go."""

    def __init__(
        self, model: LanguageModel, settings: EngineSettings | None = None, compiled: Compiled = "auto"
    ) -> None:
        self.model = model
        settings = settings or EngineSettings()
        self.reader: PagedReader | ApartReader
        if isinstance(model, Transformer) and pages(model):
            self.reader = PagedReader(model, settings, compiled)
        else:
            self.reader = ApartReader(model, settings, stepper(model, TOKENS, compiled))
        self.scheduler, self.tools = self.reader.scheduler, Tools(draw=self.reader.draw)
        self.texts: dict[int, Text] = {}
        self.last = self.prompt_tokens = 0

    def add(self, request: Request) -> int:
        """Takes a request; its number. SettingsError for what cannot be done."""
        check_ids([ids for ids in (request.ids, request.source) if ids is not None], self.model.vocab_size)
        if name_of(request.strategy, self.model.kind) != "sample":
            raise SettingsError("many texts at once are sampled (or greedy, temperature 0): other strategies run alone")
        row = request.row(self.last + 1, self.model)
        needed = len(request.ids) + row.left
        if needed > self.reader.longest:
            raise SettingsError(
                f"prompt and new tokens ({needed}) need more than the cache of {self.reader.longest} places: ask for "
                "fewer tokens, or set engine.cache_tokens higher"
            )
        self.last += 1
        self.prompt_tokens += len(request.ids)
        self.texts[self.last] = text = Text(self.last, row, request.source)
        self.scheduler.add(text)
        return self.last

    def cancel(self, number: int) -> None:
        """Forgets a request, wherever it is, and frees what it held."""
        text = self.texts.pop(number, None)
        if text is not None:
            self.scheduler.remove(text)
            self.reader.forget(text)

    @property
    def open(self) -> int:
        """Texts that run or wait."""
        return len(self.texts)

    def read(self, works: Sequence[Work]) -> Tensor:
        """logits_NV after those texts whose next token is to be chosen."""
        return self.reader.read(works)

    def figures(self) -> dict[str, float]:
        """What runs and waits, and what the cache holds."""
        scheduler = self.scheduler
        found: dict[str, float] = {"running": len(scheduler.running), "waiting": len(scheduler.waiting)}
        found |= {"prompt_tokens": self.prompt_tokens, "preempted": scheduler.preempted}
        if isinstance(scheduler, Scheduler):
            blocks = scheduler.blocks
            found |= {"blocks": blocks.count, "blocks_used": blocks.count - blocks.free, "prefix_hits": scheduler.hits}
        return found

    @torch.inference_mode()
    def step(self) -> list[Event]:
        """One step of all that run; nothing when there is nothing to do."""
        works = self.scheduler.next()
        if not works:
            return []
        rows = [work.text.row for work in works if work.last]
        logits_NV = self.read(works)
        self.scheduler.done(works)
        events = take(rows, logits_NV, self.tools) if rows else []
        for number, found in events:
            if isinstance(found, NextwordError) or found.stop is not None:
                self.cancel(number)
        return events


def take(rows: list[Row], logits_NV: Tensor, tools: Tools) -> list[Event]:
    """A token for each row, or what is wrong with it: an error of one, raised before any draws, leaves the others."""
    try:
        turn = sample.start(rows, tools).next(Reading(logits_NV, [1] * len(rows)))
    except NextwordError as error:
        if len(rows) == 1:
            return [(rows[0].index, error)]
        alone = zip(rows, logits_NV, strict=True)
        return [event for row, logits_V in alone for event in take([row], logits_V[None], tools)]
    return [(step.row, step) for step in turn.steps]
