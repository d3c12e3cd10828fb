"""`nextword tune`: which learning rate, batch or width, by successive halving over ordinary runs of `pretrain`.

    OUT/
      tune.json       what was asked, and each trial's losses at the rungs: all that a killed tune goes on from
      trials/NAME/    the run of a trial; of those that dropped out only log and settings stay
      report.html

`recipes/halving.py` says how many go on, `recipes/trials.py` what each of them is; this file trains and writes down.
"""

import json
import math
import shutil
import sys
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from nextword.core import device, log
from nextword.core.distributed import joined
from nextword.core.errors import CheckpointError, SettingsError, TrainingError
from nextword.core.files import read_json, write_atomic, write_json
from nextword.core.progress import Progress
from nextword.recipes import halving, trials, tune_plan, tune_report, tune_result
from nextword.recipes.pretrain import pretrain_tokens
from nextword.recipes.trials import Choice
from nextword.recipes.tune_plan import Plan
from nextword.recipes.tune_result import TRIALS
from nextword.recipes.tune_settings import TuneSettings
from nextword.train import checkpoint, folder
from nextword.train.folder import refuse_differences
from nextword.train.lock import NAME as LOCK
from nextword.train.lock import only_one
from nextword.train.precision import choose as choose_precision

STATE, REPORT = "tune.json", "report.html"
INTERRUPTED = 130
DIVERGED = "the validation loss is not finite"


def main(settings: TuneSettings) -> int:
    """Tunes, then prints the table, advice, and the command that trains with the best; 130 after Ctrl-C."""
    with joined() as world:
        if world.several:
            raise SettingsError("tune trains one trial after the other in one process: start it without torchrun")
    plan = tune_plan.make(settings)
    if settings.dry_run:
        tune_plan.show(plan)
        return 0

    def say(line: str) -> None:
        if not settings.quiet:
            print(line, file=sys.stderr, flush=True)

    with only_one(settings.out):
        tree = begin(plan)
        if tree["finished"]:
            say(f"{settings.out} is finished; nothing to do")
        else:
            try:
                climb(plan, tree)
            except KeyboardInterrupt:
                say(f"stopped and saved in {settings.out}; the same command goes on")
                return INTERRUPTED
            tree |= tune_result.conclude(plan, tree)
            write_json(settings.out / STATE, tree)
        write_atomic(settings.out / REPORT, tune_report.page(plan, tree))
    print(json.dumps(tree)) if settings.json else show(plan, tree)
    return 0


def begin(plan: Plan) -> dict[str, Any]:
    """What is known so far; SettingsError where the folder holds something else."""
    out, path = plan.settings.out, plan.settings.out / STATE
    if path.exists():
        tree: dict[str, Any] = read_json(path, CheckpointError)
        try:
            known = tree["run"], tree["trials"], tree["finished"], tree["precision"]
        except (KeyError, TypeError):
            raise CheckpointError(f"{path} describes no tune; choose another --out") from None
        refuse_differences(out, known[0], plan.depends)
        return tree
    if any(entry.name != LOCK for entry in out.iterdir()):
        raise SettingsError(f"{out} is not empty and holds no tune; choose another --out")
    train = plan.settings.train  # one precision for all, though "auto" might be measured differently from run to run
    precision = choose_precision(train.precision, device.choose(train.device)).precision
    tree = {"nextword": version("nextword"), "run": plan.depends, "precision": precision, "finished": False}
    tree["trials"] = {
        choice.name: {
            "learning_rate": choice.learning_rate, "batch": choice.batch, "width": choice.width,
            "parameters": plan.parameters[width], "steps": [], "losses": [], "seconds": 0.0, "tokens_per_second": 0.0,
            "diverged": None,
        }
        for width, group in plan.groups.items() for choice in group
    }  # fmt: skip
    write_json(path, tree)
    return tree


def climb(plan: Plan, tree: dict[str, Any]) -> None:
    """Trains every rung, from wherever the tune stands; KeyboardInterrupt after Ctrl-C, with everything saved."""
    total = sum(plan.cost(rung)[1] for rung, _ in plan.rungs())
    done = sum(
        plan.tokens(choice, rung) * plan.flops[width]
        for width, group in plan.groups.items()
        for choice in group
        for rung in range(len(tree["trials"][choice.name]["losses"]))
    )
    with Progress("tune", total, "FLOPs", start=done, quiet=plan.settings.quiet) as line:
        for rung, _ in plan.rungs():
            going = [choice for group in plan.groups.values() for choice in entrants(plan, tree, group, rung)]
            for number, choice in enumerate(going, 1):
                work = plan.tokens(choice, rung) * plan.flops[choice.width]
                if len(tree["trials"][choice.name]["losses"]) <= rung:
                    line.update(line.done, rung=f"{rung + 1}/{len(plan.sizes)}", trial=f"{number}/{len(going)}")
                    train_to(plan, tree, choice, rung, Trial(line, work, plan, choice, rung))
                    done += work
                    line.update(done, **best_so_far(tree, rung))
            drop(plan, tree, rung)


class Trial(Progress):
    """The line of one trial, which moves the line of the whole tune on and shows nothing itself."""

    def __init__(self, line: Progress, work: float, plan: Plan, choice: Choice, rung: int) -> None:
        super().__init__("trial", None, "steps", quiet=True)
        self.whole, self.before = line, line.done
        self.start, stop = plan.step(choice, rung - 1), plan.step(choice, rung)
        self.work = work / (stop - self.start)

    def update(self, done: float, **figures: str) -> None:
        """Moves the tune on by the steps made."""
        shown = {name: figures[name] for name in ("loss", "speed") if name in figures}
        self.whole.update(self.before + self.work * (done - self.start), **shown)


def entrants(plan: Plan, tree: dict[str, Any], group: list[Choice], rung: int) -> list[Choice]:
    """The trials of one width that train on a rung: all of them, or the best of those of the rung before."""
    if rung == 0:
        return group
    before = entrants(plan, tree, group, rung - 1)
    losses = [tree["trials"][choice.name]["losses"][rung - 1] for choice in before]
    kept = set(halving.survivors(losses, plan.sizes[rung]))
    return [choice for place, choice in enumerate(before) if place in kept]


def train_to(plan: Plan, tree: dict[str, Any], choice: Choice, rung: int, line: Progress) -> None:
    """Trains a trial to the end of a rung and writes down what came of it; one that diverges has no loss."""
    settings, entry, step = plan.settings, tree["trials"][choice.name], plan.step(choice, rung)
    out = settings.out / TRIALS / choice.name
    train = replace(trials.train_for(choice, settings.train), stop_at=step, precision=tree["precision"])
    loss = None
    try:
        model = trials.model_for(choice, settings.model)
        done = pretrain_tokens(settings.tokens, model, train, out, objective=settings.objective, quiet=line)
        loss = loss_at(out, step)
        entry["diverged"] = DIVERGED if loss is None else None
        entry["seconds"], entry["tokens_per_second"] = done.seconds, round(done.tokens_per_second, 1)
    except TrainingError as error:
        entry["diverged"] = str(error)
    entry["losses"].append(loss)
    entry["steps"].append(step)
    write_json(settings.out / STATE, tree)


def loss_at(out: Path, step: int) -> float | None:
    """The validation loss of a run at a step; None where it was not finite."""
    found: float | None = next(row["validation_loss"] for row in log.read(out / folder.LOG) if row["step"] == step)
    return found if found is not None and math.isfinite(found) else None


def best_so_far(tree: dict[str, Any], rung: int) -> dict[str, str]:
    """The lowest loss of a rung, and whose it is, for the line of progress."""
    here = [entry for entry in tree["trials"].values() if len(entry["losses"]) > rung and not entry["diverged"]]
    if not here:
        return {}
    best = min(here, key=lambda entry: entry["losses"][rung])
    return {"best": f"{best['losses'][rung]:.3f} with learning rate {best['learning_rate']:g}"}


def drop(plan: Plan, tree: dict[str, Any], rung: int) -> None:
    """Frees the disk of the models and checkpoints of trials that do not go on after a rung."""
    for group in plan.groups.values():
        last = rung + 1 == len(plan.sizes)
        going = entrants(plan, tree, group, rung if last else rung + 1)
        for choice in group:
            if choice not in going or tree["trials"][choice.name]["diverged"]:
                for name in (checkpoint.FOLDER, folder.BEST, folder.MODEL):
                    shutil.rmtree(plan.settings.out / TRIALS / choice.name / name, ignore_errors=True)


def show(plan: Plan, tree: dict[str, Any]) -> None:
    """Prints the table, advice, and what to type next."""
    heading, rows = tune_report.results(plan, tree)
    show_table(heading, rows)
    heading, rows = tune_report.by_width(plan, tree)
    if rows:
        print()
        show_table(heading, rows)
    for note in tree["advice"]:
        print(f"\nnote: {note}")
    print(f"\nbest: {tree['best']}" + (f", trained to the end: {tree['model']}" if tree["model"] else ""))
    print(f"report: {plan.settings.out / REPORT}")
    print(f"next: {tree['next']}")


def show_table(heading: list[str], rows: list[list[str]]) -> None:
    """Prints a table."""
    table = Table(*heading, box=None, padding=(0, 2, 0, 0))
    for row in rows:
        table.add_row(*row)
    Console(width=None if sys.stdout.isatty() else 160, highlight=False).print(table)
