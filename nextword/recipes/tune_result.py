"""What came of a tune: the best trial, whether the grid was wide enough, and the command that trains as it did."""

import math
import shlex
from dataclasses import fields
from typing import Any

from nextword.core.errors import TrainingError
from nextword.recipes import halving, trials
from nextword.recipes.trials import Choice
from nextword.recipes.tune_plan import Plan
from nextword.train import folder

TRIALS = "trials"


def conclude(plan: Plan, tree: dict[str, Any]) -> dict[str, Any]:
    """The best of all and of each width, what to say about it, and the next command; TrainingError if none is left.

    Where a tune compares widths, the best is the one with the lowest loss after equally many tokens; what the same time
    gives is for the reader to weigh (`tune_report.by_width`).
    """
    entries = tree["trials"]
    best = {width: ranking(tree, group)[0] for width, group in plan.groups.items()}
    best = {width: choice for width, choice in best.items() if not entries[choice.name]["diverged"]}
    if not best:
        why = next(entry["diverged"] for entry in entries.values())
        raise TrainingError(
            f"every trial has diverged: name lower --tune.learning_rates, or set a longer --train.warmup ({why})"
        )
    winner = ranking(tree, list(best.values()))[0]
    trained = len(entries[winner.name]["losses"]) == len(plan.sizes)
    return {
        "finished": True,
        "best": winner.name,
        "best_of_width": {str(width): choice.name for width, choice in best.items()} if len(plan.groups) > 1 else {},
        "model": str(plan.settings.out / TRIALS / winner.name / folder.MODEL) if trained else None,
        "advice": advice(plan, best),
        "next": command(plan, winner),
    }


def ranking(tree: dict[str, Any], group: list[Choice]) -> list[Choice]:
    """Best first: who came furthest, then by the loss there; what diverged is last, whatever it was before."""

    def worth(choice: Choice) -> tuple[bool, int, float]:
        entry = tree["trials"][choice.name]
        losses = entry["losses"]
        return bool(entry["diverged"]), -len(losses), math.inf if losses[-1] is None else losses[-1]

    return sorted(group, key=worth)


def advice(plan: Plan, best: dict[int | None, Choice]) -> list[str]:
    """What to say where a best learning rate lies at the edge of those tried."""
    found = []
    for width, choice in best.items():
        tried = [one.learning_rate for one in plan.groups[width] if one.batch == choice.batch]
        values = halving.wider(tried, choice.learning_rate)
        if values is not None:
            end = "highest" if choice.learning_rate == max(tried) else "lowest"
            of = "" if len(best) == 1 else f" of width {width}"
            wider = ",".join(f"{value:g}" for value in values)
            found.append(
                f"the best learning rate{of}, {choice.learning_rate:g}, is the {end} that was tried: try a wider grid "
                f"in another --out, with --tune.learning_rates {wider}"
            )
    return found


def command(plan: Plan, choice: Choice) -> str:
    """The whole `nextword pretrain` line that trains with a trial's settings."""
    settings = plan.settings
    train, model = trials.train_for(choice, settings.train), trials.model_for(choice, settings.model)
    words = ["nextword", "pretrain", str(settings.tokens), "--out", f"{settings.out}-best"]
    parts = (("model", model), ("objective", settings.objective), ("train", train))
    return shlex.join(words + [flag for name, part in parts for flag in flags(name, part)])


def flags(section: str, settings: Any) -> list[str]:
    """The flags that give these settings, those at their defaults left out."""
    default, found = type(settings)(), []
    for field in fields(settings):
        value = getattr(settings, field.name)
        if value == getattr(default, field.name):
            continue
        name = f"--{section}.{field.name}"
        if isinstance(value, tuple):
            found += [name, *map(str, value)]
        else:
            found.append(f"{name}={str(value).lower() if isinstance(value, bool) else value}")
    return found
