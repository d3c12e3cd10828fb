"""`nextword run`: text to tokenizer to tokens to model to figures to samples to a report, each stage once.

This file only wires; what a stage does is the verb of the same name. `recipes/stages.py` decides what is skipped.
"""

import json
import os
import shlex
import sys
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from nextword.assembly.folder import load
from nextword.core.distributed import ALONE, World, joined
from nextword.core.errors import Elsewhere, NextwordError, SettingsError
from nextword.core.files import write_atomic, write_json
from nextword.core.progress import duration, quantity
from nextword.core.settings import to_tree
from nextword.models.checkpoint import load_config
from nextword.models.count import describe
from nextword.models.family import Special, fresh_config, note_of
from nextword.models.settings import ModelSettings
from nextword.objectives.choose import heads, purpose, settled
from nextword.objectives.settings import ObjectiveSettings
from nextword.recipes import forecast, run_report, sources
from nextword.recipes.evaluate import evaluate_gaps, evaluate_tokens
from nextword.recipes.pretrain import pretrain_tokens
from nextword.recipes.run_settings import RunSettings
from nextword.recipes.samples import draw
from nextword.recipes.stages import Ledger, Stage, remove
from nextword.recipes.tokenize import tokenize_text
from nextword.recipes.tokenizer_train import train_tokenizer
from nextword.tokenizers.settings import TokenizerSettings
from nextword.train.folder import Summary
from nextword.train.lock import only_one
from nextword.train.settings import TrainSettings

INTERRUPTED = 130
TRAIN = "train"  # what process 0 says to the others; a number is the status with which all end


def main(settings: RunSettings) -> int:
    """Runs the recipe's stages and writes the report; 130 after Ctrl-C, with all work saved."""
    with joined() as world:
        if not world.first:
            return follow(settings, world)
        status = NextwordError.exit_code
        try:
            status = life(settings, world)
        except NextwordError as error:
            status = error.exit_code
            raise
        finally:
            world.share(status, world.patient)
        return status


def life(settings: RunSettings, world: World) -> int:
    """All stages, by process 0 of those that torchrun started, or by the only one."""
    if settings.train.stop_at is not None:
        raise SettingsError(
            "train.stop_at is for `nextword pretrain`: here the stages after it would take the stopped model for the "
            "finished one; set train.steps"
        )
    out = place(settings)
    ledger = Ledger(out, settings.name)
    plan = stages(settings, out, world)
    if settings.dry_run:
        forecast.show(settings, out, ledger.plan(plan))
        return 0

    def say(line: str) -> None:
        if not settings.quiet:
            print(line, file=sys.stderr, flush=True)

    with only_one(out):
        ledger.tree["settings"] = to_tree(settings)
        ledger.save()
        try:
            ledger.run(plan, say)
        except KeyboardInterrupt:
            say(f"stopped; to go on: {command(settings, out)}")
            return INTERRUPTED
        write_atomic(out / "report.html", run_report.page(ledger))
    conclude(ledger, settings.quiet)
    return 0


def place(settings: RunSettings) -> Path:
    """The run's folder."""
    return settings.out or Path("runs") / settings.name


def follow(settings: RunSettings, world: World) -> int:
    """What the other processes do: they help to train and otherwise wait, for however long it takes."""
    out = place(settings)
    while (word := world.share(None, world.patient)) == TRAIN:
        with suppress(Elsewhere):  # process 0 says what is wrong, and how it ends
            train_model(settings, out, world, quiet=True)
    return int(word)


def train_model(settings: RunSettings, out: Path, world: World, *, quiet: bool) -> Summary:
    """The stage that all processes share."""
    tokens, trained = out / "tokens", out / "pretrain"
    return pretrain_tokens(
        tokens, settings.model, settings.train, trained, objective=settings.objective, quiet=quiet, world=world
    )


def command(settings: RunSettings, out: Path) -> str:
    """What to type to go on with this run (flags that were given with it have to be given again)."""
    return shlex.join(["nextword", "run", str(settings.recipe), "--out", str(out)]) + " with the same flags"


def stages(settings: RunSettings, out: Path, world: World = ALONE) -> list[Stage]:
    """The stages of a run, each with all that its result depends on."""
    tokenizer, tokens, trained, model = out / "tokenizer", out / "tokens", out / "pretrain", out / "model"
    quiet = settings.quiet
    kind = kind_of(settings.model)
    wanted = tokenizer_for(settings.tokenizer, settings.objective, kind)
    settled(settings.objective, kind, heads_of(settings.model))  # an objective that does not fit is refused here

    def make_tokenizer() -> dict[str, Any]:
        made = train_tokenizer(settings.text, settings.split, wanted, tokenizer, quiet=quiet)
        return {"kind": made.kind, "vocab_size": made.vocab_size}

    def make_tokens() -> dict[str, Any]:
        return tokenize_text(settings.text, settings.split, tokenizer, tokens, quiet=quiet)

    def make_model() -> dict[str, Any]:
        world.share(TRAIN, world.patient)
        summary = train_model(settings, out, world, quiet=quiet)
        link(model, trained / "model")
        return asdict(summary)

    def make_figures() -> dict[str, Any]:
        work = evaluate_tokens if kind == "decoder" else evaluate_gaps
        figures = work(model, tokens, settings.evaluate, quiet=quiet)
        write_json(out / "evaluation.json", figures)
        return figures

    def make_samples() -> dict[str, Any]:
        samples = draw(load(model, device=settings.evaluate.device), settings.sample.prompts, settings.sample.sampling)
        write_json(out / "samples.json", samples)
        return {"samples": samples}

    train = {key: value for key, value in to_tree(settings.train).items() if key not in TrainSettings.FREE}
    made_of = {"model": to_tree(settings.model), "objective": to_tree(settings.objective), "train": train}
    text = {"sources": sources.fingerprint(settings.text), "split": to_tree(settings.split)}
    return [
        Stage("tokenizer", text | {"tokenizer": to_tree(wanted)}, ["tokenizer"], make_tokenizer),
        Stage("tokenize", {}, ["tokens"], make_tokens),
        Stage("pretrain", made_of, ["pretrain", "model"], make_model),
        Stage("evaluate", to_tree(settings.evaluate), ["evaluation.json"], make_figures),
        Stage("sample", to_tree(settings.sample), ["samples.json"], make_samples),
    ]


def link(link_path: Path, target: Path) -> None:
    """Makes `link_path` a link to `target` beside it, so that a run's model is at one place whatever made it."""
    remove(link_path)
    link_path.symlink_to(os.path.relpath(target, link_path.parent), target_is_directory=True)


def kind_of(model: ModelSettings) -> str:
    """The kind of model that the settings describe."""
    return describe(fresh_config(model, 1, Special(0, 0, 0))).kind


def heads_of(model: ModelSettings) -> tuple[str, ...]:
    """The names of its further heads."""
    return heads(describe(fresh_config(model, 1, Special(0, 0, 0))))


def tokenizer_for(settings: TokenizerSettings, objective: ObjectiveSettings, kind: str) -> TokenizerSettings:
    """The tokenizer's settings with the special tokens that the model needs, where they do not say."""
    needed = purpose(objective, kind)
    return settings if settings.purpose is not None or needed == "gpt" else replace(settings, purpose=needed)


def conclude(ledger: Ledger, quiet: bool) -> None:
    """Prints the figures by source, and what to type next."""
    figures, trained = ledger.summary("evaluate"), ledger.summary("pretrain")
    metrics = figures["all"].get("metrics")
    headings = run_report.HEADINGS if metrics is None else list(run_report.metric_rows(metrics))
    table = Table("held-out text", *headings, box=None, padding=(0, 2, 0, 0))
    if metrics is None:
        for name, row in run_report.figure_rows(figures):
            table.add_row(name, *row)
    else:
        table.add_row("all", *run_report.metric_rows(metrics).values())
    console = Console()
    if not quiet:
        console.print(table)
        took = sum(ledger.seconds(name) for name in ledger.tree["stages"])
        console.print(f"\n{quantity(trained['parameters'])} parameters, {duration(took)} of work in all")
    if note := note_of(load_config(ledger.out / "model")):
        print(f"note: {note}")
    print(f"report: {ledger.out / 'report.html'}")
    verb = "inspect" if metrics is not None else "generate"
    print(f"next: nextword {verb} {ledger.out / 'model'}" + (f" {json.dumps('The')}" if metrics is None else ""))
