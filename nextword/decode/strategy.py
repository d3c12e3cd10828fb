"""What a strategy is: it looks at scores and says which rows are read on with, and by which tokens.

    next(reading) -> (steps, choices)

A *choice* is a row of the next call of the model: which present row it continues, how many of the tokens that this row
read last it keeps, and what it reads next. That is all that any strategy does to a model:

    take       one choice for a row, one token                                   sampling
    fork       several choices for a row                                         beams, contrastive search, best of n
    drop       no choice for a row                                               a text that ended, a beam that lost
    accept k   `kept` k + 1: the token that was certain and k of the guesses     speculation, prompt lookup

A strategy is a file in `nextword/decode/strategies`, found by its name, with

    KINDS      the kinds of models that it is for
    HONOURS    the settings of `StrategySettings` that it goes by
    DRAWS      whether it draws at random: where it does not, temperature, top-k and seed are refused
    width(settings)    the rows of the model that a request takes
    HIDDEN             whether it looks at hidden vectors
    start(rows, tools) -> Search

The engine (`nextword/engine/generate.py`) runs it over any model.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any, NamedTuple, Protocol, cast

from torch import Tensor

from nextword.core.errors import SettingsError
from nextword.core.registry import names, part
from nextword.decode.row import Row, Step
from nextword.decode.scores import Draw, draw
from nextword.decode.settings import SamplingSettings
from nextword.decode.strategy_settings import StrategySettings

STRATEGIES = "nextword.decode.strategies"
DEFAULTS = {"decoder": "sample", "encoder-decoder": "sample", "encoder": "mask-predict"}
CUTS = ("top_k", "top_p", "min_p", "typical_p", "epsilon", "eta")
DRAWING = ("temperature", *CUTS, "seed")  # settings of sampling: nothing to those who do not draw


class Choice(NamedTuple):
    """A row of the next call: it continues present row `row` and reads `tokens`.

    kept: how many of the tokens that this row read last stay, all if None.
    """

    row: int
    tokens: tuple[int, ...]
    kept: int | None = None


class Reading(NamedTuple):
    """What the model said after each token that was read, rows one after the other.

    logits_NV: scores of what comes next. counts: of how many tokens of each row; of prompts only the last. hidden_NTD:
    where a strategy looks at them, the hidden vectors of each row's tokens, of prompts all.
    """

    logits_NV: Tensor
    counts: Sequence[int]
    hidden: Sequence[Tensor] = ()

    def rows(self) -> Sequence[Tensor]:
        """logits (T, V) of each row."""
        return self.logits_NV.split(list(self.counts))


class Turn(NamedTuple):
    """steps: tokens that are certain now. choices: what is read next; none where all rows have ended."""

    steps: list[Step]
    choices: list[Choice]


class Search(Protocol):
    """A strategy at work on some rows together."""

    def next(self, reading: Reading) -> Turn:
        """What follows from the scores of what was read last; the first are those of the prompts."""
        ...


class Reads(Protocol):
    """A model that reads rows on, as choices say (`engine/reader.py`): how a strategy asks a second one, its draft.

    room: the most tokens that it can read, None without a limit.
    """

    room: int | None

    def begin(
        self, prompts: Sequence[Sequence[int]], length: int, sources: Sequence[Sequence[int]] | None = None
    ) -> Reading:
        """Reads prompts into a fresh state with room for `length` tokens a row."""
        ...

    def follow(self, choices: Sequence[Choice]) -> Reading:
        """Reads on."""
        ...

    def mark(self) -> None:
        """Remembers the rows as they are now."""
        ...

    def go_back(self) -> None:
        """The rows are again as they were at the mark."""
        ...


@dataclass(frozen=True)
class Tools:
    """What some strategies need beside scores.

    draft: a small model of the same vocabulary. cost: what a token costs the draft, as a share of the model's cost.
    score: a judge of finished texts, (text, ids) -> the higher the better. trace: a list that gets what was considered
    (`decode/trace.py`), for whoever draws it. draw: how tokens are drawn, which compiled steps do in their own way.
    """

    draft: Reads | None = None
    cost: float = 0.0
    score: Callable[[str, tuple[int, ...]], float] | None = None
    trace: list[Any] | None = None
    draw: Draw = draw


class Start(Protocol):
    """Begins a search for the rows of a batch."""

    def __call__(self, rows: Sequence[Row], tools: Tools) -> Search: ...  # noqa: D102


def honours(name: str) -> frozenset[str]:
    """The settings that the strategy called `name` goes by."""
    return cast(frozenset[str], part(STRATEGIES, name, "HONOURS"))


def kinds(name: str) -> frozenset[str]:
    """The kinds of models that the strategy called `name` is for."""
    return cast(frozenset[str], part(STRATEGIES, name, "KINDS"))


def sees_hidden(name: str) -> bool:
    """Whether the strategy called `name` looks at hidden vectors."""
    return cast(bool, part(STRATEGIES, name, "HIDDEN"))


def width(name: str, settings: StrategySettings) -> int:
    """The rows of the model that a request with these settings takes."""
    return cast(Callable[[StrategySettings], int], part(STRATEGIES, name, "width"))(settings)


def name_of(settings: StrategySettings, kind: str) -> str:
    """The name of the strategy for a kind of model; SettingsError where it is for another kind."""
    name = settings.strategy or DEFAULTS[kind]
    if kind not in kinds(name):
        fitting = " or ".join(other for other in names(STRATEGIES) if kind in kinds(other))
        raise SettingsError(
            f"strategy {name} is for {' or '.join(sorted(kinds(name)))} models, this is an {kind}: choose {fitting}"
        )
    return name


def check(settings: StrategySettings, sampling: SamplingSettings, kind: str) -> str:
    """The strategy's name; SettingsError for a setting that it does not go by, which would be without effect."""
    name = name_of(settings, kind)
    for option in fields(StrategySettings):
        if (
            option.name != "strategy"
            and getattr(settings, option.name) is not None
            and option.name not in honours(name)
        ):
            others = [other for other in names(STRATEGIES) if option.name in honours(other)]
            raise SettingsError(
                f"{option.name} has no effect with strategy {name}: leave it out, or choose {' or '.join(others)}"
            )
    if not part(STRATEGIES, name, "DRAWS") and sampling.temperature != 0:
        defaults = SamplingSettings()
        for option in DRAWING:
            if getattr(sampling, option) != getattr(defaults, option):
                raise SettingsError(f"{option} has no effect with strategy {name}, which draws nothing: leave it out")
    return name
