"""What a tune will do, worked out and checked before it begins: trials, rungs, tokens, FLOPs."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

from rich.console import Console
from rich.table import Table
from torch import nn

from nextword.core import device
from nextword.core.errors import DataError, SettingsError
from nextword.core.files import fingerprint
from nextword.core.progress import duration, quantity
from nextword.core.settings import to_tree
from nextword.data.shards import Tokens
from nextword.models.count import count, describe
from nextword.models.family import Special, fresh_config
from nextword.objectives.choose import heads, settled
from nextword.recipes import halving, trials
from nextword.recipes.forecast import FLOAT_FORMATS, REACHED
from nextword.recipes.pretrain import fitting
from nextword.recipes.trials import Choice
from nextword.recipes.tune_settings import TuneSettings
from nextword.train import rates
from nextword.train.folder import flatten, frozen


@dataclass(frozen=True)
class Plan:
    """The trials by width, how many of each width's reach each rung, and for each width parameters and FLOPs a token.

    depends: a flat tree of what the result depends on.
    """

    settings: TuneSettings
    groups: dict[int | None, list[Choice]]
    sizes: list[int]
    parameters: dict[int | None, int]
    flops: dict[int | None, float]
    depends: dict[str, Any]

    @property
    def fields(self) -> list[str]:
        """Names of the settings in which the trials differ; the learning rate always."""
        every = [choice for group in self.groups.values() for choice in group]
        more = ("width", "batch")
        return [*(name for name in more if len({getattr(one, name) for one in every}) > 1), "learning_rate"]

    def step(self, choice: Choice, rung: int) -> int:
        """The step of a trial at which a rung (from 0) ends; 0 before the first."""
        if rung < 0:
            return 0
        steps = trials.train_for(choice, self.settings.train).steps
        return halving.steps_at(steps, self.settings.tune.eta, len(self.sizes), rung)

    def tokens(self, choice: Choice, rung: int) -> int:
        """Tokens that a trial trains on in a rung."""
        return (self.step(choice, rung) - self.step(choice, rung - 1)) * choice.batch * self.settings.train.length

    def cost(self, rung: int) -> tuple[float, float]:
        """Tokens and FLOPs of a rung, those of the first trials of each width standing for the ones that get there."""
        tokens = flops = 0.0
        for width, group in self.groups.items():
            for choice in group[: self.sizes[rung]]:
                tokens += self.tokens(choice, rung)
                flops += self.tokens(choice, rung) * self.flops[width]
        return tokens, flops

    def rungs(self) -> Iterator[tuple[int, int]]:
        """Each rung with the trials of all widths together."""
        for rung, size in enumerate(self.sizes):
            yield rung, size * len(self.groups)


def make(settings: TuneSettings) -> Plan:
    """Works the plan out; raises the error of whatever could not be trained or compared."""
    trials.check(settings.train)
    splits = [Tokens.open(settings.tokens, "train"), Tokens.open(settings.tokens, "validation")]
    if len(splits[1]) < 2:
        raise DataError(
            f"{settings.tokens} has no validation text, by which trials are compared: tokenise with a validation split"
        )
    groups = trials.choices(settings.tune, settings.train)
    sizes = halving.sizes(len(next(iter(groups.values()))), settings.tune.eta)
    if settings.tune.rungs is not None and settings.tune.rungs > len(sizes):
        raise SettingsError(
            f"tune.rungs is {settings.tune.rungs}, but with tune.eta {settings.tune.eta} one trial of {sizes[0]} is "
            f"left after {len(sizes)}: lower it, or name more to try"
        )
    sizes = sizes[: settings.tune.rungs]
    parameters, flops = {}, {}
    for width, group in groups.items():
        for choice in group:
            check_length(choice, settings, len(sizes))
        parameters[width], flops[width] = size_up(group[0], settings, splits[0].vocab_size)
    text = fingerprint([[split.fingerprint, split.checksums] for split in splits])
    parts = {"tune": settings.tune, "model": settings.model, "objective": settings.objective}
    depends = {"text": text, "train": frozen(settings.train), **{name: to_tree(part) for name, part in parts.items()}}
    return Plan(settings, groups, sizes, parameters, flops, flatten(depends))


def check_length(choice: Choice, settings: TuneSettings, rungs: int) -> None:
    """Refuses a first rung in which a trial never reaches its learning rate."""
    train = trials.train_for(choice, settings.train)
    first = halving.steps_at(train.steps, settings.tune.eta, rungs, 0)
    if rungs > 1 and first <= train.warm_steps:
        raise SettingsError(
            f"the first of {rungs} rungs would end at step {first:,} of {train.steps:,}, within the warm-up of "
            f"{train.warm_steps:,}, before any learning rate is reached: set --tune.rungs={rungs - 1}, a shorter "
            "--train.warmup, or more --train.steps"
        )


def size_up(choice: Choice, settings: TuneSettings, vocab_size: int) -> tuple[int, float]:
    """Parameters and FLOPs a token of a trial's model, which is described and checked but not made."""
    sizes = fitting(trials.model_for(choice, settings.model), settings.objective)
    model = describe(fresh_config(sizes, vocab_size, Special(0, 0, 0)))
    if not isinstance(model, nn.Module):
        raise SettingsError(f"model.family {sizes.family!r} is counted from text and has no learning rate to tune")
    settled(settings.objective, model.kind, heads(model))
    rates.check(model, settings.train)
    figures = count(cast(Any, model), settings.train.length)
    return figures.parameters, figures.flops_training


def show(plan: Plan) -> None:
    """Prints the rungs, and the time that they will take."""
    table = Table("rung", "trials", "tokens each", "tokens", box=None, padding=(0, 2, 0, 0))
    first = next(iter(plan.groups.values()))[0]
    total = work = 0.0
    for rung, size in plan.rungs():
        tokens, flops = plan.cost(rung)
        total, work = total + tokens, work + flops
        each = plan.step(first, rung) * first.batch * plan.settings.train.length
        table.add_row(f"{rung + 1}", f"{size}", quantity(each), quantity(tokens))
    Console().print(table)
    place = device.choose(plan.settings.train.device)
    rate = max(device.product_rate(name, place) for name in FLOAT_FORMATS) * REACHED
    begun = sum(map(len, plan.groups.values()))
    print(f"\ntrials    {begun} begin, {plan.sizes[-1] * len(plan.groups)} trained to the end")
    sizes = " and ".join(f"{quantity(size)}" for size in plan.parameters.values())
    print(f"model     {plan.settings.model.family}, {sizes} parameters")
    whole = sum(len(group) * plan.flops[width] for width, group in plan.groups.items()) / rate
    whole *= plan.settings.train.steps * plan.settings.train.batch * plan.settings.train.length
    print(f"tokens    {quantity(total)} in all")
    print(f"time      about {duration(work / rate)}; about {duration(whole)} if every trial were trained to the end")
    print("\nnothing was done; run the same command without --dry-run to start", file=sys.stderr)
