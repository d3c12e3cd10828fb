"""Speculative decoding: a small model drafts the next tokens, the large one reads them all at once.

    guess    x_1 .. x_k from the draft, each from its q after the tokens before it
    verify   one call of the model over all of them, acceptance as in `nextword/decode/speculation.py`

The text is distributed as the model's own; only time is at stake (Leviathan et al., 2023; Chen et al., 2023). The draft
has the same vocabulary, the same temperature and processors, and any kind: a smaller transformer, a recurrence, an
n-gram. How many tokens it drafts follows from how often it was right and from what it costs; where no draft pays, none
is made, but for one token now and then that shows whether that has changed.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from nextword.core.errors import SettingsError
from nextword.decode import chain
from nextword.decode.row import Row
from nextword.decode.speculation import GUESSES, Guess, Odds, Speculation, agreeing
from nextword.decode.strategies.sample import choose
from nextword.decode.strategy import Choice, Reads, Search, Tools
from nextword.decode.strategy_settings import StrategySettings

KINDS = frozenset({"decoder", "encoder-decoder"})
HONOURS = frozenset({"guesses"})
DRAWS, HIDDEN = True, False
PROBE = 32  # steps without a draft after which one token is drafted all the same


class Drafting:
    """A row's odds, how much of its text the draft has read, in which row of its state, and what it guessed last."""

    def __init__(self, row: Row, slot: int) -> None:
        self.row, self.slot, self.odds = row, slot, Odds()
        self.read = self.idle = 0
        self.guessed: tuple[int, ...] = ()
        self.seen = len(row.ids)  # tokens of the text at the last guess

    def count(self, cost: float) -> int:
        """Learns from what came since the last guess; how many tokens to guess now."""
        new = self.row.ids[self.seen :]
        self.seen = len(self.row.ids)
        if self.guessed:
            right = agreeing(self.guessed, new)
            self.odds.learn(right, int(right < len(self.guessed)))
        most = min(self.row.strategy.guesses or GUESSES, self.row.left - 1)
        wanted = self.odds.count(most, cost)
        self.idle = 0 if wanted else self.idle + 1
        if self.idle == PROBE and most:
            self.idle = 0
            return 1
        return wanted


class Draft:
    """A Guesser: the small model, which reads behind what is certain and is taken back to it each time."""

    def __init__(self, rows: Sequence[Row], draft: Reads, cost: float) -> None:
        self.draft, self.cost, self.begun = draft, cost, False
        self.length = max(len(row.ids) + row.left for row in rows)
        self.draftings = [Drafting(row, slot) for slot, row in enumerate(rows)]

    def guess(self, rows: Sequence[Row], places: Sequence[int], price: float) -> list[Guess]:
        """What the draft would say next, as long as it is likely to be right."""
        self.draftings = [self.draftings[place] for place in places]
        counts = [drafting.count(self.cost + price) for drafting in self.draftings]
        guesses = self.drafted(rows, counts) if any(counts) else [Guess()] * len(rows)
        for drafting, guess in zip(self.draftings, guesses, strict=True):
            drafting.guessed = guess.tokens
        return guesses

    def drafted(self, rows: Sequence[Row], counts: Sequence[int]) -> list[Guess]:
        """`counts` tokens for each row."""
        places = [place for place, count in enumerate(counts) if count]
        scores_BV, read = self.catch_up(rows)[places], places
        sketches = [Sketch(row) for row in rows]
        while True:
            chosen = draw([sketches[place] for place in places], scores_BV)
            on = [number for number, place in enumerate(places) if sketches[place].goes_on(counts[place])]
            if not on:
                return [sketch.guess() for sketch in sketches]
            scores_BV = self.draft.follow([Choice(read[number], (chosen[number],)) for number in on]).logits_NV
            places, read = [places[number] for number in on], list(range(len(on)))

    def catch_up(self, rows: Sequence[Row]) -> Tensor:
        """Reads what has become certain; logits_BV of what comes next. To this point the draft goes back next time."""
        if self.begun:
            self.draft.go_back()
            unread = [(one.slot, tuple(row.ids[one.read :])) for one, row in zip(self.draftings, rows, strict=True)]
            reading = self.draft.follow([Choice(slot, tokens) for slot, tokens in unread])
        else:
            sources = [row.asked.source for row in rows if row.asked.source is not None]
            reading, self.begun = self.draft.begin([row.ids for row in rows], self.length, sources or None), True
        self.draft.mark()
        for slot, (one, row) in enumerate(zip(self.draftings, rows, strict=True)):
            one.slot, one.read = slot, len(row.ids)
        return torch.stack([logits_TV[-1] for logits_TV in reading.rows()])


class Sketch:
    """A guess in the making."""

    def __init__(self, row: Row) -> None:
        self.row, self.tokens, self.shares = row, [], []
        self.history = row.history.fork() if row.history.stages else row.history

    def push(self, token: int, scores_V: Tensor) -> None:
        """A token that was drawn by these scores."""
        self.tokens.append(token)
        if self.row.settings.temperature > 0:
            self.shares.append(scores_V.double().softmax(-1))
        if self.history.stages:
            self.history.push(token)

    def goes_on(self, count: int) -> bool:
        """Whether there are fewer than `count` tokens, and the last does not end the text."""
        ended = self.tokens[-1] in self.row.asked.eos_ids or self.history.finished
        return len(self.tokens) < count and not ended

    def guess(self) -> Guess:
        """What was drawn; without distributions where it was not left to chance."""
        return Guess(tuple(self.tokens), torch.stack(self.shares) if self.shares else None)


def draw(sketches: Sequence[Sketch], logits_BV: Tensor) -> list[int]:
    """A token for each."""
    scores_BV = chain.process(logits_BV.float(), [sketch.history for sketch in sketches])
    settings, generators = zip(*((sketch.row.settings, sketch.row.generator) for sketch in sketches), strict=True)
    chosen = choose(scores_BV, settings, generators)
    for sketch, token, scores_V in zip(sketches, chosen, scores_BV, strict=True):
        sketch.push(token, scores_V)
    return chosen


def start(rows: Sequence[Row], tools: Tools) -> Search:
    """Begins to speculate; SettingsError without a draft, or one that cannot read as far as the texts may go."""
    if tools.draft is None:
        raise SettingsError(
            "strategy speculative needs a draft, a small model of the same vocabulary (draft=, --draft)"
        )
    longest = max(len(row.ids) + row.left for row in rows)
    if tools.draft.room is not None and longest > tools.draft.room:
        raise SettingsError(
            f"prompt and max_tokens are {longest} tokens, the draft reads at most {tools.draft.room}: set max_tokens "
            "to at most what that leaves, or choose another draft"
        )
    return Speculation(rows, Draft(rows, tools.draft, tools.cost), tools.trace)


def width(settings: StrategySettings) -> int:
    """One row a request."""
    return 1
