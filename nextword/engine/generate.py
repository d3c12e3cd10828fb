"""The one generation loop: read the prompts, then choose, append, stop; over anything that scores the next token.

Prompts of different lengths share a batch, padded on the right; a row that ends leaves the batch. What a row gets does
not depend on who shares the batch, but for rounding: its own generator draws its tokens (`decode/strategies/sample`).
"""

import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nextword.core.errors import SettingsError
from nextword.decode import chain
from nextword.decode.stop import StopTexts
from nextword.decode.strategies import sample
from nextword.engine.request import Generation, Request, Step
from nextword.engine.step import Compiled, Stepper, check_ids, logprobs, stepper
from nextword.models.base import LanguageModel
from nextword.tokenizers.stream import StreamDecoder

BATCH_ROWS = 32  # prompts that are continued together
REMEMBERED = 4  # last tokens of a prompt that the decoder of the new text sees


@dataclass
class _Row:
    """A request on its way: what it may still generate and what it has said."""

    index: int
    request: Request
    left: int
    seed: int
    generator: torch.Generator
    stops: StopTexts
    decoder: StreamDecoder | None

    def take(self, token: int, logprob: float) -> Step:
        """The step that this token is: what it lets be shown and whether it ends the text."""
        self.left -= 1
        if token in self.request.eos_ids:
            return Step(self.index, token, logprob, self.rest(), "eos")
        text = self.stops.push(self.decoder.push(token)) if self.decoder else ""
        if self.stops.found:
            return Step(self.index, token, logprob, text, "stop")
        if not self.left:
            text += self.rest()
            return Step(self.index, token, logprob, text, "stop" if self.stops.found else "length")
        return Step(self.index, token, logprob, text)

    def rest(self) -> str:
        """What was held back for the rest of a character or of a stop text."""
        text = self.stops.push(self.decoder.flush()) if self.decoder else ""
        return text + self.stops.flush()


def _rows(model: LanguageModel, requests: Sequence[Request]) -> list[_Row]:
    for request in requests:
        if (model.kind == "encoder-decoder") != (request.source is not None):
            given = "with" if request.source else "without"
            raise SettingsError(f"a request {given} a source does not fit this {model.kind}")
    sources = [request.source for request in requests if request.source is not None]
    check_ids([*(request.ids for request in requests), *sources], model.vocab_size)
    rows = []
    for index, request in enumerate(requests):
        seed = request.seed()
        generator = torch.Generator().manual_seed(seed)
        decoder = request.tokenizer.decoder() if request.tokenizer else None
        for number in request.ids[-REMEMBERED:] if decoder else ():
            decoder.push(number)  # the text goes on from the prompt: whether a space follows may depend on it
        stops = StopTexts(request.settings.stop)
        rows.append(_Row(index, request, request.limit(model.max_length), seed, generator, stops, decoder))
    return rows


@torch.inference_mode()
def _choose(logits_BV: Tensor, rows: list[_Row]) -> tuple[list[int], list[float]]:
    """The next token of each row and its log-probability under the model."""
    logprobs_BV = logprobs(logits_BV)
    settings = [row.request.settings for row in rows]
    tokens = sample.choose(chain.process(logprobs_BV, settings), settings, [row.generator for row in rows])
    return tokens, logprobs_BV[range(len(rows)), tokens].tolist()


def _run(steps: Stepper, rows: list[_Row]) -> Iterator[Step]:
    """The loop itself: steps of all rows until the last has ended."""
    length = max(len(row.request.ids) + row.left for row in rows)
    sources = [row.request.source for row in rows if row.request.source is not None]
    logits_BV, state = steps.prefill([row.request.ids for row in rows], length, sources or None)
    while True:
        tokens, scores = _choose(logits_BV, rows)
        going = []
        for place, (row, token, score) in enumerate(zip(rows, tokens, scores, strict=True)):
            step = row.take(token, score)
            if step.stop is None:
                going.append(place)
            yield step
        if not going:
            return
        if len(going) < len(rows):
            rows = [rows[place] for place in going]
            tokens = [tokens[place] for place in going]
            state = state.select(torch.tensor(going, device=state.lengths_B.device))
        logits_BV, state = steps.step(tokens, state)


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
        result.text += step.text
        result.reason = step.stop or result.reason
        yield step


def stream(
    model: LanguageModel, requests: Sequence[Request], results: list[Generation], steps: Stepper | Compiled = "auto"
) -> Generator[Step, None, None]:
    """Continues the prompts together and yields every token of every row as it comes.

    `results` is an empty list: it gets one Generation a request, which grow with the steps, so that a caller who stops
    early (Ctrl-C) has what was generated so far. `steps`: how to step the model, or when to use a compiled plan.
    """
    began = time.perf_counter()
    rows = _rows(model, requests)
    results += [Generation(row.request.ids, row.seed) for row in rows]
    if isinstance(steps, str):
        steps = stepper(model, sum(row.left for row in rows), steps)
    for start in range(0, len(rows), BATCH_ROWS):
        yield from _record(_run(steps, rows[start : start + BATCH_ROWS]), results, began)


def generate(model: LanguageModel, requests: Sequence[Request], steps: Stepper | Compiled = "auto") -> list[Generation]:
    """Continues every prompt; the results in the order of the requests.

    SettingsError for a prompt that leaves no room in the model's context or has tokens that it does not know;
    CheckpointError when the model's scores are not finite.
    """
    results: list[Generation] = []
    for _ in stream(model, requests, results, steps):
        pass
    return results
