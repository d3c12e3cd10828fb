"""The trials of a tune: which learning rate, batch and width each has, and the run that it is.

All trials read as many tokens: with half the batch twice the steps, and all that is counted in steps with them. Heads
keep their width as models grow, and the feed-forward grows with the model.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

from nextword.core.errors import SettingsError
from nextword.core.registry import part
from nextword.models.family import Family
from nextword.models.settings import FAMILIES, ModelSettings
from nextword.recipes.tune_settings import TuneSection
from nextword.train.settings import TrainSettings

HEAD_WIDTH = 64  # of every family whose settings say nothing else
IN_STEPS = ("eval_every", "batch_warmup", "length_warmup")  # beside steps and warmup
DIGITS = 3  # of a learning rate that is drawn
OWN = {  # settings of a run that a tune sets itself or could not compare trials with
    "stop_at": "a tune stops each trial itself",
    "max_time": "trials are compared after equally many tokens, not after equal times",
    "patience": "a trial that stops early cannot be compared",
}


@dataclass(frozen=True)
class Choice:
    """What one trial differs in; width None: whatever the model's settings give."""

    learning_rate: float
    batch: int
    width: int | None

    @property
    def name(self) -> str:
        """Of the trial's folder."""
        width = "" if self.width is None else f"width{self.width}-"
        return f"{width}batch{self.batch}-lr{self.learning_rate:g}"

    def words(self, fields: Sequence[str]) -> str:
        """Those fields as people say them: learning rate 0.001, batch 8."""
        return ", ".join(f"{name.replace('_', ' ')} {getattr(self, name):g}" for name in fields)


def choices(tune: TuneSection, train: TrainSettings) -> dict[int | None, list[Choice]]:
    """The trials of each width: the grid, or a random draw where that has more than `tune.trials`.

    Random trials find a good value of what matters with fewer runs than a grid, which repeats each of its values for
    every value of what does not (Bergstra & Bengio, "Random Search for Hyper-Parameter Optimization", 2012).
    """
    widths: tuple[int | None, ...] = tune.widths or (None,)
    batches = tune.batches or (train.batch,)
    if tune.trials is None or tune.trials >= len(tune.learning_rates) * len(batches) * len(widths):
        return {
            width: [Choice(rate, batch, width) for batch in batches for rate in tune.learning_rates] for width in widths
        }
    if tune.trials % len(widths):
        raise SettingsError(
            f"tune.trials {tune.trials} is no multiple of {len(widths)}, the number of widths; each gets as many"
        )
    draw = random.Random(train.seed)
    found: dict[int | None, list[Choice]] = {}
    for width in widths:
        drawn: dict[str, Choice] = {}  # by name, so that none is tried twice
        while len(drawn) < tune.trials // len(widths):
            choice = Choice(log_uniform(draw, tune.learning_rates), draw.choice(batches), width)
            drawn.setdefault(choice.name, choice)
        found[width] = sorted(drawn.values(), key=lambda choice: (choice.batch, choice.learning_rate))
    return found


def log_uniform(draw: random.Random, values: Sequence[float]) -> float:
    """From the lowest to the highest of the values, every factor as likely as any other."""
    low, high = min(values), max(values)
    return min(max(float(f"{low * (high / low) ** draw.random():.{DIGITS}g}"), low), high)


def check(train: TrainSettings) -> None:
    """Refuses settings with which trials could not be compared."""
    default = TrainSettings()
    for name, why in OWN.items():
        if getattr(train, name) != getattr(default, name):
            raise SettingsError(f"train.{name} does not apply to a tune: {why}; leave it out")
    if not train.eval_every:
        raise SettingsError("trials are compared by their validation loss: set train.eval_every above 0")


def train_for(choice: Choice, train: TrainSettings) -> TrainSettings:
    """The settings of a trial's run: its learning rate and batch, and as many tokens as `train` has."""
    changes: dict[str, Any] = {"learning_rate": choice.learning_rate}
    if choice.batch != train.batch:
        share = train.batch / choice.batch
        steps = max(1, round(train.steps * share))
        changes |= {"batch": choice.batch, "steps": steps, "warmup": min(round(train.warm_steps * share), steps)}
        changes |= {name: max(round(getattr(train, name) * share), min(getattr(train, name), 1)) for name in IN_STEPS}
        if train.micro_batch is not None:
            changes["micro_batch"] = min(train.micro_batch, choice.batch)
    return replace(train, **changes)


def model_for(choice: Choice, model: ModelSettings) -> ModelSettings:
    """The settings of a trial's model: of its width, with heads of the width that the settings give them."""
    if choice.width is None:
        return model
    family = cast(Family, part(FAMILIES, model.family, "FAMILY"))
    if "heads" not in family.honoured:
        return replace(model, width=choice.width)
    for name in ("heads", "kv_heads", "ffn_width"):
        if getattr(model, name) is not None and model.width is None:
            raise SettingsError(
                f"model.{name} grows with the width: say with --model.width which of tune.widths it is meant for"
            )
    each = model.head_width or HEAD_WIDTH
    if model.heads is not None and model.width is not None:
        each = model.head_width or scaled("model.width", model.width, 1, model.heads)
    heads = scaled("tune.widths", choice.width, 1, each)
    changes: dict[str, int] = {"width": choice.width, "heads": heads}
    if model.kv_heads is not None:
        changes["kv_heads"] = scaled("model.kv_heads", model.kv_heads, choice.width, cast(int, model.width))
    if model.ffn_width is not None:
        changes["ffn_width"] = scaled("model.ffn_width", model.ffn_width, choice.width, cast(int, model.width))
    return replace(model, **changes)  # type: ignore[arg-type]


def scaled(name: str, value: int, times: int, parts: int) -> int:
    """value · times / parts; SettingsError where that is no whole number."""
    if value * times % parts:
        what = f"{value} is no multiple of {parts}" if times == 1 else f"{value} times {times} / {parts} is not whole"
        raise SettingsError(
            f"{name}: {what}; heads keep their width (--model.head_width, or width / heads, or {HEAD_WIDTH}) as models "
            "grow: choose widths that are multiples of it"
        )
    return value * times // parts
