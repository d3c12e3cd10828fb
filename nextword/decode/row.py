"""A text on its way: what was asked, what has been said, and what may be shown of it.

A strategy owns its rows. One that follows a single text (sampling) takes tokens on the row itself; one that follows
many (beams) keeps plain tokens, and takes those of the text that it chose on a fresh row at the end (`again`), since
decoders of text cannot be copied.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from nextword.decode.history import History
from nextword.decode.settings import SamplingSettings
from nextword.decode.stop import StopTexts
from nextword.decode.strategy_settings import StrategySettings
from nextword.tokenizers.stream import ByteStream, StreamDecoder

REMEMBERED = 4  # last tokens of a prompt that the decoder of the new text sees
Top = tuple[tuple[int, float], ...]  # the likeliest tokens at a place with their log-probabilities, best first


class Decoding(Protocol):
    """What is needed of a tokenizer."""

    def decoder(self) -> StreamDecoder:
        """A fresh decoder."""
        ...


@dataclass(frozen=True, slots=True)
class Step:
    """One new token of a row. text: what can be shown now (may be empty); stop: why the row ends here, if it does.

    logprob: under the model itself. top: the likeliest tokens in its place, where they were asked for.
    """

    row: int
    token: int
    logprob: float
    text: str = ""
    stop: str | None = None
    top: Top = ()


@dataclass(frozen=True)
class Hypothesis:
    """One of several texts for a prompt. score: what it was ranked by, as its strategy says; else as in Generation."""

    ids: tuple[int, ...]
    text: str
    score: float
    logprobs: tuple[float, ...]
    reason: str

    @classmethod
    def of(cls, steps: Sequence[Step], score: float) -> "Hypothesis":
        """A text from its steps, of which the last ends it."""
        said = [step for step in steps if step.stop != "eos"]
        ids, logprobs = tuple(step.token for step in said), tuple(step.logprob for step in said)
        return cls(ids, "".join(step.text for step in steps), score, logprobs, steps[-1].stop or "length")


@dataclass(frozen=True)
class Blank:
    """How an encoder is asked to write: the mask, what stands behind all masks, and tokens that it must not write."""

    mask_id: int
    after: tuple[int, ...]
    never: tuple[int, ...]


@dataclass(frozen=True)
class Asked:
    """What a row is to do: `index` numbers the requests, `limit` is the most tokens that it may generate.

    source: what an encoder-decoder reads. blank: how an encoder is to write.
    """

    index: int
    prompt: tuple[int, ...]
    settings: SamplingSettings
    strategy: StrategySettings
    eos_ids: frozenset[int]
    limit: int
    seed: int
    vocab_size: int
    tokenizer: Decoding | None = None
    source: tuple[int, ...] | None = None
    blank: Blank | None = None


class Row:
    """A request on its way: what it has said, and how much it may still say."""

    def __init__(self, asked: Asked) -> None:
        self.asked, self.index, self.settings, self.strategy = asked, asked.index, asked.settings, asked.strategy
        self.ids, self.left = list(asked.prompt), asked.limit  # prompt and new tokens
        self.history = History(
            asked.settings, asked.prompt, asked.vocab_size, asked.limit, asked.eos_ids, asked.tokenizer
        )
        self.generator = torch.Generator().manual_seed(asked.seed)
        self.stops = StopTexts(asked.settings.stop)
        self.decoder = self.fresh_decoder()
        self.best: tuple[Hypothesis, ...] = ()  # of a strategy that gives several texts, when it is done

    @property
    def new(self) -> list[int]:
        """The tokens after the prompt."""
        return self.ids[len(self.asked.prompt) :]

    def fresh_decoder(self) -> StreamDecoder | None:
        """A decoder at the end of the prompt; under a constraint it spells tokens as the constraint reads them."""
        if self.asked.tokenizer is None:
            return None
        if self.history.guide is not None:
            return ByteStream(self.asked.tokenizer.token_bytes)
        decoder = self.asked.tokenizer.decoder()
        for number in self.asked.prompt[-REMEMBERED:]:
            decoder.push(number)  # the text goes on from the prompt: whether a space follows may depend on it
        return decoder

    def again(self) -> "Row":
        """The same request from its beginning."""
        return Row(self.asked)

    def take(self, token: int, logprob: float, top: Top = ()) -> Step:
        """The step that this token is: what it lets be shown and whether it ends the text."""
        self.left -= 1
        self.ids.append(token)
        self.history.push(token)
        if token in self.asked.eos_ids:
            return Step(self.index, token, logprob, self.rest(), "eos", top)
        text = self.stops.push(self.decoder.push(token)) if self.decoder else ""
        if self.stops.found:
            return Step(self.index, token, logprob, text, "stop", top)
        if self.history.finished:
            return Step(self.index, token, logprob, text + self.rest(), "stop", top)
        if not self.left:
            text += self.rest()
            return Step(self.index, token, logprob, text, "stop" if self.stops.found else "length", top)
        return Step(self.index, token, logprob, text, None, top)

    def replay(self, ids: Sequence[int], logprobs: Sequence[float], tops: Sequence[Top] = ()) -> list[Step]:
        """The steps of tokens that are certain, up to the one that ends the text."""
        steps = []
        for place, (token, logprob) in enumerate(zip(ids, logprobs, strict=True)):
            steps.append(self.take(token, logprob, tops[place] if tops else ()))
            if steps[-1].stop:
                break
        return steps

    def rest(self) -> str:
        """What was held back for the rest of a character or of a stop text."""
        text = self.stops.push(self.decoder.flush()) if self.decoder else ""
        return text + self.stops.flush()
