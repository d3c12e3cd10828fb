"""Settings of `nextword tune`."""

from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar

from cyclopts import Parameter

from nextword.core.errors import SettingsError
from nextword.core.settings import in_range
from nextword.models.settings import ModelSettings
from nextword.objectives.settings import ObjectiveSettings
from nextword.train.settings import TrainSettings


def listed(kind: Callable[[str], Any]) -> Parameter:
    """Numbers between commas or spaces, or both."""

    def read(_: Any, tokens: Sequence[Any]) -> tuple[Any, ...]:
        return tuple(kind(word) for token in tokens for word in token.value.replace(",", " ").split())

    return Parameter(converter=read, n_tokens=-1)


@dataclass(frozen=True, kw_only=True)
class TuneSection:
    """What is tried, and how fast the worse part drops out."""

    learning_rates: Annotated[tuple[float, ...], listed(float)] = (3e-4, 1e-3, 3e-3, 1e-2)
    "Learning rates, such as 3e-4,1e-3,3e-3; a random draw is from the lowest to the highest of them."
    batches: Annotated[tuple[int, ...], listed(int)] = ()
    "Rows a step, such as 8,16; each trains on as many tokens. Only train.batch if left out."
    widths: Annotated[tuple[int, ...], listed(int)] = ()
    "Widths, such as 128,256, each of which is tuned on its own. Only model.width if left out."
    trials: int | None = None
    "If the grid has more than so many, so many are drawn at random from its range instead, by train.seed."
    eta: int = 3
    "One trial in so many goes on to the next rung, which is so many times as long."
    rungs: int | None = None
    "Rungs; 1 trains every trial to the end. As many as it takes until one trial is left, if left out."

    def __post_init__(self) -> None:
        """Refuses what leaves nothing to compare."""
        for name in ("learning_rates", "batches", "widths"):
            values = getattr(self, name)
            if len(set(values)) < len(values):
                raise SettingsError(f"tune.{name} names a value twice: {', '.join(f'{value:g}' for value in values)}")
            for value in values:
                in_range(f"tune.{name}", value, 1e-12 if name == "learning_rates" else 1)
        if not self.learning_rates:
            raise SettingsError("tune.learning_rates is empty: name some, such as --tune.learning_rates 3e-4,1e-3,3e-3")
        in_range("tune.eta", self.eta, 2)
        for name in ("trials", "rungs"):
            if getattr(self, name) is not None:
                in_range(f"tune.{name}", getattr(self, name), 1)


@dataclass(frozen=True)
class TuneSettings:
    """Find a good learning rate, batch or width by short runs of which the worse drop out early.

    Every trial is a run of `nextword pretrain` below OUT/trials. The same command goes on where it stopped, after
    Ctrl-C or a kill. Ends with a table, OUT/tune.json, OUT/report.html, and the command that trains with the best
    settings."""

    RECIPE: ClassVar[str] = "nextword.recipes.tune:main"
    EXAMPLES: ClassVar[str] = (
        "  nextword tune tokens --out runs/tune --train.steps=1000\n"
        "  nextword tune tokens --out runs/tune --tune.learning_rates 3e-4,1e-3,3e-3 --tune.batches 8,16 --dry-run\n"
        "  nextword tune tokens --out runs/draw --tune.learning_rates 1e-4,1e-2 --tune.batches 8,16,32 --tune.trials 9"
        " --tune.rungs 2\n"
        "  nextword tune tokens --out runs/mup --tune.widths 64,128,256 --tune.rungs 1 --train.mup_width=64"
        " --model.tied=false"
    )

    tokens: Path
    "A folder of tokens with a validation split, as `nextword tokenize` makes it."
    _: KW_ONLY
    out: Annotated[Path, Parameter(alias="-o")]
    "Folder of the trials and of what came of them; one that holds another tune is refused."
    dry_run: bool = False
    "Print how many runs, tokens and minutes it takes; do nothing."
    quiet: bool = False
    "No progress, only the result."
    json: bool = False
    "Print the result as JSON."
    tune: TuneSection = field(default_factory=TuneSection)
    objective: ObjectiveSettings = field(default_factory=ObjectiveSettings)
    model: ModelSettings = field(default_factory=ModelSettings)
    train: TrainSettings = field(default_factory=TrainSettings)
