"""The one generation loop: read the prompts, then let a strategy choose, and read on; over anything that scores tokens.

Prompts of different lengths share a batch, padded on the right; a row that ends leaves the batch. What a row gets does
not depend on who shares the batch, but for rounding: its own generator draws its tokens (`decode/strategies/sample`).
"""

import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from typing import cast

import torch

from nextword.core.errors import SettingsError
from nextword.core.registry import part
from nextword.decode.row import Row, Step
from nextword.decode.scores import NotFinite
from nextword.decode.strategy import STRATEGIES, Start, Tools, name_of, sees_hidden, width
from nextword.engine import masked
from nextword.engine.reader import Reader
from nextword.engine.request import Generation, Request
from nextword.engine.step import Compiled, Stepper, check_ids, stepper
from nextword.models.base import LanguageModel
from nextword.models.finite import not_finite

BATCH_ROWS = 32  # rows that are continued together
NO_TOOLS = Tools()
MASKED = "mask-predict"  # the strategy of encoders


def _run(steps: Stepper, strategy: str, rows: Sequence[Row], tools: Tools) -> Iterator[Step]:
    """The loop itself: steps of all rows until the last has ended."""
    search = cast(Start, part(STRATEGIES, strategy, "start"))(rows, replace(tools, draw=steps.draw))
    reader = Reader(steps, sees_hidden(strategy))
    length = max(len(row.ids) + row.left for row in rows)
    sources = [row.asked.source for row in rows if row.asked.source is not None]
    reading = reader.begin([row.asked.prompt for row in rows], length, sources or None)
    while True:
        with torch.inference_mode():
            said, choices = search.next(reading)
        yield from said
        if not choices:
            return
        reading = reader.follow(choices)


def _record(steps: Iterator[Step], results: Sequence[Generation], began: float) -> Iterator[Step]:
    """Passes steps on and writes them into the results, by their row."""
    firsts = [0.0] * len(results)
    for step in steps:
        result, now = results[step.row], time.perf_counter()
        if not result.seconds_to_first:
            firsts[step.row], result.seconds_to_first = now, now - began
        elif now > firsts[step.row]:
            result.tokens_per_second = len(result.ids) / (now - firsts[step.row])
        if step.stop != "eos":
            result.ids.append(step.token)
            result.logprobs.append(step.logprob)
            if step.top:
                result.top_logprobs.append(step.top)
        result.text += step.text
        result.reason = step.stop or result.reason
        yield step


def stream(
    model: LanguageModel,
    requests: Sequence[Request],
    results: list[Generation],
    steps: Stepper | Compiled = "auto",
    tools: Tools = NO_TOOLS,
) -> Generator[Step, None, None]:
    """Continues the prompts together and yields every token of every row as it becomes certain.

    `results` is an empty list: it gets one Generation a request, which grow with the steps, so that a caller who stops
    early (Ctrl-C) has what was generated so far. `steps`: how to step the model, or when to use a compiled plan.
    `tools`: what some strategies need beside the model. A strategy that follows several texts says nothing before it
    has chosen one.
    """
    began = time.perf_counter()
    sources = [request.source for request in requests if request.source is not None]
    check_ids([*(request.ids for request in requests), *sources], model.vocab_size)
    rows = [request.row(index, model) for index, request in enumerate(requests)]
    results += [Generation(row.asked.prompt, row.asked.seed) for row in rows]
    if isinstance(steps, str):
        steps = steps_for(model, requests, steps)
    for strategy, alike in groupby(rows, lambda row: name_of(row.strategy, model.kind)):
        for together in batches(strategy, list(alike)):
            said = masked.run(model, together) if strategy == MASKED else _run(steps, strategy, together, tools)
            try:
                yield from _record(said, results, began)
            except NotFinite as error:
                raise not_finite(model) from error
            for row in together:
                result = results[row.index]
                result.best, result.complete = row.best, row.history.complete
                if row.best or strategy == MASKED:  # all at once
                    result.tokens_per_second = len(result.ids) / result.seconds_to_first


def steps_for(model: LanguageModel, requests: Sequence[Request], compiled: Compiled) -> Stepper:
    """How to step the model for these requests; SettingsError where `always` cannot be kept."""
    plain = needs_plain(model, requests)
    if plain and compiled == "always":
        raise SettingsError(f"strategy {plain} needs more of the model than compiled steps give: use compiled = auto")
    tokens = sum(
        request.limit(model.max_length) * width(name_of(request.strategy, model.kind), request.strategy)
        for request in requests
    )
    return stepper(model, tokens, "never" if plain else compiled)


def needs_plain(model: LanguageModel, requests: Sequence[Request]) -> str | None:
    """The strategy of a request that needs more of the model than a compiled plan gives, if there is one."""
    names = (name_of(request.strategy, model.kind) for request in requests)
    return next((name for name in names if name == MASKED or sees_hidden(name)), None)


def batches(strategy: str, rows: Sequence[Row]) -> Iterator[list[Row]]:
    """Rows that are continued together: as many as fit into BATCH_ROWS with all the rows that each needs."""
    together: list[Row] = []
    filled = 0
    for row in rows:
        needed = width(strategy, row.strategy)
        if together and filled + needed > BATCH_ROWS:
            yield together
            together, filled = [], 0
        together.append(row)
        filled += needed
    if together:
        yield together


def generate(
    model: LanguageModel,
    requests: Sequence[Request],
    steps: Stepper | Compiled = "auto",
    tools: Tools = NO_TOOLS,
) -> list[Generation]:
    """Continues every prompt; the results in the order of the requests.

    SettingsError for a prompt that leaves no room in the model's context or has tokens that it does not know, or a
    setting without effect; CheckpointError when the model's scores are not finite.
    """
    results: list[Generation] = []
    for _ in stream(model, requests, results, steps, tools):
        pass
    return results
