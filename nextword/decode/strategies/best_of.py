"""Best of n: several texts are drawn, and the best of them is given.

Best is the highest mean log-probability under the model, or what a judge says that is handed in (`Tools.score`), such
as a reward model: the simplest way to follow a preference without training (Stiennon et al., "Learning to summarize
from human feedback", 2020). Texts that were cut before they were what a constraint asks for come behind all others. The
prompt is read once. Text i is that of seed + i, as in sampling.
"""

from collections.abc import Sequence
from dataclasses import replace

from nextword.core.errors import SettingsError
from nextword.decode.row import Hypothesis, Row, Step
from nextword.decode.settings import LARGEST_SEED
from nextword.decode.strategies.sample import Sampling
from nextword.decode.strategy import Choice, Reading, Search, Tools, Turn
from nextword.decode.strategy_settings import StrategySettings

KINDS = frozenset({"decoder", "encoder-decoder"})
HONOURS = frozenset({"n", "candidates"})
DRAWS, HIDDEN = True, False
CANDIDATES = 8


def width(settings: StrategySettings) -> int:
    """The rows that a request needs."""
    return settings.candidates or CANDIDATES


class BestOf:
    """Samples all candidates, and says the best of a row when its last has ended."""

    def __init__(self, rows: Sequence[Row], tools: Tools) -> None:
        self.rows, self.tools = list(rows), tools
        self.origins = [number for number, row in enumerate(rows) for _ in range(width(row.strategy))]
        self.said: list[list[Step]] = [[] for _ in self.origins]
        self.left = [width(row.strategy) for row in rows]  # candidates that have not ended
        self.candidates = [self.candidate(place) for place in range(len(self.origins))]
        self.sampling = Sampling(self.candidates, tools.draw)
        self.prompts = True

    def candidate(self, place: int) -> Row:
        """The row of a candidate: its index is its place among those of all rows."""
        number = self.origins[place]
        asked = self.rows[number].asked
        seed = (asked.seed + place - self.origins.index(number)) % LARGEST_SEED
        return Row(replace(asked, index=place, seed=seed))

    def next(self, reading: Reading) -> Turn:
        """A token for every candidate that has not ended."""
        if not self.prompts:
            drawn, choices = self.sampling.next(reading)
        else:  # one row for all candidates of a prompt
            drawn, choices = self.sampling.next(reading._replace(logits_NV=reading.logits_NV[self.origins]))
            choices = [Choice(self.origins[choice.row], choice.tokens) for choice in choices]
            self.prompts = False
        steps: list[Step] = []
        for step in drawn:
            self.said[step.row].append(step)
            number = self.origins[step.row]
            self.left[number] -= step.stop is not None
            if step.stop is not None and not self.left[number]:
                steps += self.say(number)
        return Turn(steps, choices)

    def say(self, number: int) -> list[Step]:
        """The steps of a row's best candidate; the row gets as many as were asked for."""
        row = self.rows[number]
        drawn = [place for place, origin in enumerate(self.origins) if origin == number]
        results = {place: self.result(self.said[place]) for place in drawn}
        ranked = sorted(drawn, key=lambda place: (self.candidates[place].history.cut, -results[place].score))
        row.best = tuple(results[place] for place in ranked[: row.strategy.n or 1])
        best = self.said[ranked[0]]
        return row.replay([s.token for s in best], [s.logprob for s in best], [s.top for s in best])

    def result(self, steps: Sequence[Step]) -> Hypothesis:
        """A candidate with its score."""
        found = Hypothesis.of(steps, sum(step.logprob for step in steps) / len(steps))
        if self.tools.score is None:
            return found
        return replace(found, score=self.tools.score(found.text, found.ids))


def start(rows: Sequence[Row], tools: Tools) -> Search:
    """Begins to draw; SettingsError where more texts are asked for than are drawn."""
    for settings in (row.strategy for row in rows):
        if (settings.n or 1) > width(settings):
            raise SettingsError(
                f"n ({settings.n}) is more than the {width(settings)} texts that are drawn: set candidates to at least "
                f"{settings.n}"
            )
    return BestOf(rows, tools)
