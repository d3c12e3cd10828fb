"""Speculative = target: a text that was guessed and verified is the one that the model would have written by itself.

Broken by a cache that does not take rejected guesses back, by places that are counted wrong when several tokens are
read at once, or by rows that accept different numbers and are mixed up. It shows as text that depends on who drafts it.

A greedy text is compared, of several prompts together. Where two tokens are equally likely, rounding may choose the
other one, and all that follows is another text; so it is not the tokens that are held against each other, but the score
of every chosen token against the highest in its place, when the model reads the finished text whole.
"""

from collections.abc import Iterator
from functools import partial

import numpy as np

from nextword.decode.settings import SamplingSettings
from nextword.decode.strategy import Reads, Tools
from nextword.decode.strategy_settings import StrategySettings
from nextword.engine.draft import LEAST
from nextword.engine.generate import generate
from nextword.engine.reader import Reader
from nextword.engine.request import Request
from nextword.engine.step import PlainSteps
from nextword.models.base import LanguageModel
from nextword.models.create import create
from nextword.models.ngram import NGram
from nextword.models.settings import ModelSettings
from nextword.verify.equality import Equality, Measured, Pair, predictions
from nextword.verify.rows import Row
from nextword.verify.subject import Ids, Subject, read_alone

ORDER = 3  # of the n-gram that drafts


class Tokens:
    """Ids in memory, as counting reads them."""

    def __init__(self, ids: Ids) -> None:
        self.ids = ids

    def __len__(self) -> int:
        return len(self.ids)

    def read(self, start: int, stop: int) -> Ids:
        """The ids from `start` to before `stop`."""
        return self.ids[start:stop]


def measure(subject: Subject) -> Measured:
    """Texts drafted by the model itself, which is always right, by a small n-gram, and by looking up the prompt."""
    drafts: dict[str, Reads | None] = {"itself": reader(subject.model), "look-up": None}
    if subject.model.kind == "decoder":
        drafts["an n-gram"] = reader(counted(subject))
    found = [pair for name, draft in drafts.items() for pair in pairs(subject, name, draft)]
    note = f"drafts: {', '.join(drafts)}"
    return predictions(subject, found, note)


def reader(model: LanguageModel) -> Reads:
    """A model as a draft."""
    return Reader(PlainSteps(model), room=model.max_length)


def counted(subject: Subject) -> LanguageModel:
    """An n-gram of the subject's own text."""
    model = create(ModelSettings(family="ngram", order=ORDER), subject.model.vocab_size, seed=0)
    assert isinstance(model, NGram)
    model.count(Tokens(np.asarray(subject.tokens)))
    return model


def pairs(subject: Subject, name: str, draft: Reads | None) -> Iterator[Pair]:
    """The score of every token of the texts, and the highest in its place."""
    rows = subject.rows()
    sampling = SamplingSettings(temperature=0, max_tokens=subject.longest)
    strategy = StrategySettings(strategy="lookup" if draft is None else "speculative")
    ask = partial(Request, settings=sampling, strategy=strategy)
    requests = [ask(row.ids, source=row.source) for row in rows]
    texts = generate(subject.model, requests, tools=Tools(draft=draft, cost=LEAST))
    whole = [Row((*row.ids, *text.ids), row.source) for row, text in zip(rows, texts, strict=True)]
    for number, (row, text, logits_TV) in enumerate(zip(rows, texts, read_alone(subject.model, whole), strict=True)):
        for place, token in enumerate(text.ids, len(row) - 1):
            scores_V = logits_TV[place, : subject.model.vocab_size]
            where = f"token {place + 1} of row {number}, drafted by {name}"
            yield where, scores_V[token : token + 1], scores_V.amax(0, keepdim=True)


def obstacle(subject: Subject) -> str | None:
    """An encoder does not write from left to right."""
    if subject.model.kind == "encoder":
        return "an encoder does not continue a text, so that nothing can be guessed ahead"
    return None


EQUALITY = Equality(
    title="speculative = target",
    says="the score of every token of greedy texts that were drafted and verified, against the highest in its place",
    obstacle=obstacle,
    measure=measure,
)
