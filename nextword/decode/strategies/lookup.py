"""Prompt lookup: what followed the last words when they stood in the text before is guessed to follow again.

Summaries, answers about a document, edited code: much of such a text is copied from its prompt. So the last n tokens
are looked up in all that was read, the longest n first and its latest place, and the tokens behind that place are the
guess (Saxena, "Prompt Lookup Decoding", 2023). No second model is needed, and a look-up costs nothing: how often each
length of match was right is learnt from every match, also from those that were not worth reading (`speculation`).
"""

from collections.abc import Sequence

from nextword.decode.row import Row
from nextword.decode.speculation import GUESSES, Guess, Odds, Speculation, agreeing
from nextword.decode.strategy import Search, Tools
from nextword.decode.strategy_settings import StrategySettings

KINDS = frozenset({"decoder", "encoder-decoder"})
HONOURS = frozenset({"guesses", "ngram"})
DRAWS, HIDDEN = True, False
NGRAM = 3


class Memory:
    """A text that grows, and where each of its runs of up to n tokens was last followed by something."""

    def __init__(self, longest: int) -> None:
        self.longest = longest
        self.ids: list[int] = []
        self.ends: dict[tuple[int, ...], int] = {}  # a run -> the place behind it

    def push(self, tokens: Sequence[int]) -> None:
        """Tokens that follow."""
        for token in tokens:
            end = len(self.ids)
            for length in range(1, min(self.longest, end) + 1):
                self.ends[tuple(self.ids[end - length :])] = end
            self.ids.append(token)

    def find(self, most: int) -> tuple[int, list[int]]:
        """The longest run at the end that stood before: its length, and up to `most` tokens that followed it."""
        end = len(self.ids)
        for length in range(min(self.longest, end), 0, -1):
            place = self.ends.get(tuple(self.ids[end - length :]))
            if place is not None:
                return length, self.ids[place : place + most]
        return 0, []


class Watch:
    """A row's memory, the odds of each length of match, and what was foreseen at the last guess."""

    def __init__(self, row: Row) -> None:
        self.most = row.strategy.guesses or GUESSES
        self.memory = Memory(row.strategy.ngram or NGRAM)
        self.memory.push([*(row.asked.source or ()), *row.asked.prompt])
        self.odds = [Odds() for _ in range(self.memory.longest + 1)]
        self.read, self.length = len(row.asked.prompt), 0
        self.foreseen: list[int] = []

    def guess(self, row: Row, price: float) -> Guess:
        """Learns from what came since the last guess, and guesses on."""
        new = row.ids[self.read :]
        if self.foreseen:
            right = agreeing(self.foreseen, new)
            self.odds[self.length].learn(right, int(right < min(len(self.foreseen), len(new))))
        self.memory.push(new)
        self.read += len(new)
        self.length, self.foreseen = self.memory.find(min(self.most, row.left - 1))
        return Guess(tuple(self.foreseen[: self.odds[self.length].count(len(self.foreseen), price)]))


class Lookup:
    """A Guesser."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self.watches = [Watch(row) for row in rows]

    def guess(self, rows: Sequence[Row], places: Sequence[int], price: float) -> list[Guess]:
        """What stood behind the last tokens before."""
        self.watches = [self.watches[place] for place in places]
        return [watch.guess(row, price) for watch, row in zip(self.watches, rows, strict=True)]


def start(rows: Sequence[Row], tools: Tools) -> Search:
    """Begins to speculate."""
    return Speculation(rows, Lookup(rows), tools.trace)


def width(settings: StrategySettings) -> int:
    """One row a request."""
    return 1
