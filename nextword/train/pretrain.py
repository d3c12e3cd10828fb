"""Pretraining into a folder: begin or resume, train, keep the best model, write the finished one.

Called again with the same arguments, it goes on where it was: after Ctrl-C, a kill or a power cut it ends bit for bit
where an uninterrupted run ends (same machine, same number of threads), and a finished run is recognised as such.
"""

import shutil
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from nextword.core.device import peak_rate
from nextword.core.distributed import ALONE, World
from nextword.core.errors import Elsewhere, NextwordError, SettingsError
from nextword.core.files import atomic_folder
from nextword.core.log import StepLog
from nextword.core.meter import Meter, peak_memory
from nextword.core.progress import Progress
from nextword.core.settings import to_tree
from nextword.data.feed import open_source
from nextword.data.stream import Place, TokenRow
from nextword.models.base import LanguageModel, fits
from nextword.objectives.base import Objective
from nextword.objectives.next_token import NextToken
from nextword.train import blocks, checkpoint, folder, memory, rates
from nextword.train.hook import Hook
from nextword.train.hooks.evaluate import Evaluate
from nextword.train.hooks.limits import Limits
from nextword.train.hooks.log import Log
from nextword.train.hooks.save import Save
from nextword.train.hooks.show import Show
from nextword.train.interrupt import Wish, listening
from nextword.train.lock import only_one
from nextword.train.loop import train
from nextword.train.optimizer import check as check_optimizer
from nextword.train.optimizer import find as find_optimizer
from nextword.train.parallel import choose
from nextword.train.parallel.agreement import check_same
from nextword.train.parallel.choose import device_of
from nextword.train.roles import roles
from nextword.train.run import Run
from nextword.train.saver import Saver, Snapshot
from nextword.train.schedule import check as check_schedule
from nextword.train.settings import TrainSettings
from nextword.train.validation import Validation

INTERRUPTED = 130  # what the command line exits with after Ctrl-C


@dataclass(frozen=True)
class Text:
    """What is trained on, and what the validation loss is measured on (None: nothing)."""

    train: TokenRow
    validation: TokenRow | None = None


@dataclass(frozen=True)
class ModelFiles:
    """How a model is written into an empty folder, tokenizer included, and read from one."""

    write: Callable[[Path, LanguageModel], None]
    read: Callable[[Path], LanguageModel]


def say(line: str, quiet: bool = False) -> None:
    """A note to the person who waits."""
    if not quiet:
        print(line, file=sys.stderr, flush=True)


def pretrain(
    model: nn.Module,
    text: Text,
    settings: TrainSettings,
    out: Path,
    files: ModelFiles,
    *,
    depends: Mapping[str, Any],
    flops_per_token: float,
    objective: Objective | None = None,
    quiet: bool | Progress = False,
    world: World = ALONE,
) -> folder.Summary:
    """Trains `model` (fresh, or the one to go on from) on `text` into the folder `out`; the figures at the end.

    depends: a JSON-like tree of what the result depends on besides `settings`; a run in `out` that was begun with
    another is refused. flops_per_token: of one training step, for the MFU. objective: what is minimised, the next
    token if left out. quiet: True says nothing; a line of progress of the caller's is updated, and no more said. world:
    the processes that train together, all of which call this with the same arguments.
    Raises KeyboardInterrupt after Ctrl-C, once everything is saved.
    """
    line = quiet if isinstance(quiet, Progress) else None
    quiet, wanted = line is not None or bool(quiet) or not world.first, objective or NextToken()
    world.attempt(lambda: check(model, text, settings, wanted, world))
    everything = folder.flatten({**depends, "train": to_tree(settings)})
    check_same(world, everything, {"the text": text.train, "the validation text": text.validation})
    with ExitStack() as stack:
        stack.callback(torch.set_num_threads, torch.get_num_threads())  # the caller's, afterwards

        def begin() -> dict[str, Any]:
            stack.enter_context(only_one(out))
            return look(out, {**depends, "train": folder.frozen(settings)}, settings, world)

        seen = world.lead(begin)
        resolved = folder.Resolved(**seen["resolved"])
        if seen["done"] is not None:
            done = folder.Summary(**seen["done"])
            say(f"{out} is finished ({done.steps:,} steps, ended: {done.ended}); nothing to do", quiet)
            return done
        torch.set_num_threads(resolved.threads)
        device = world.attempt(lambda: device_of(resolved.device, world))
        deterministic(device)
        say(f"{resolved.precision} on {resolved.processor} ({resolved.why}){crowd(settings, world)}", quiet)
        run = world.attempt(lambda: assemble(model, text, settings, resolved.precision, wanted, world, device))
        if seen["found"] is not None:
            world.attempt(lambda: go_on(run, out, files, *seen["found"]))
            say(f"goes on from step {run.at.step:,} of {settings.steps:,}", quiet)
        foretell(run, out, fresh=seen["found"] is None, quiet=quiet)
        meter = Meter(flops_per_token, peak_rate(resolved.precision, device) * world.size, device)
        sit(run, text, out, files, meter, line or own_line(run, quiet))
        if run.at.ended is None:
            if not world.first:
                raise Elsewhere(INTERRUPTED)
            say(
                f"stopped and saved at step {run.at.step:,} in {out}; the same command goes on from there",
                line is not None,
            )
            raise KeyboardInterrupt
        return finish(run, out, files, resolved)


def look(out: Path, depends: Mapping[str, Any], settings: TrainSettings, world: World) -> dict[str, Any]:
    """What there is in `out`, as a JSON-like tree: what was resolved, a finished run's figures, a checkpoint."""
    resolved = folder.begin(out, depends, settings, lambda: folder.resolve(settings, world), world)
    done = folder.finished(out, settings)
    found = checkpoint.find_good(out, say) if done is None else None
    if done is None and found is None and checkpoint.all_of(out):
        say("no checkpoint is whole: training begins anew")
    return {
        "resolved": asdict(resolved),
        "done": None if done is None else asdict(done),
        "found": None if found is None else [found[0].name, found[1]],
    }


def go_on(run: Run, out: Path, files: ModelFiles, name: str, counts: Mapping[str, Any]) -> None:
    """Puts the checkpoint called `name` into the run."""
    path = out / checkpoint.FOLDER / name
    run.restore(cast(nn.Module, files.read(path / checkpoint.MODEL)), path / checkpoint.TENSORS, counts)
    if folder.more_left(run.at.ended, run.at.seconds, run.at.step, run.settings):
        run.at.ended = None


def foretell(run: Run, out: Path, *, fresh: bool, quiet: bool) -> None:
    """Says what a step will take in memory; ResourceError where it is not there, and nothing stays of a fresh run."""
    try:
        expected = run.world.attempt(lambda: memory.check(run))
    except NextwordError:
        if fresh and run.world.first:
            (out / folder.SETTINGS).unlink()  # so that the same --out takes the settings that fit
        raise
    if expected is not None:
        say(expected, quiet)


def crowd(settings: TrainSettings, world: World) -> str:
    """How many processes train, and how they share the work; nothing of a single one."""
    return f", {world.size} processes ({settings.parallel or 'ddp'})" if world.several else ""


def check(model: nn.Module, text: Text, settings: TrainSettings, objective: Objective, world: World = ALONE) -> None:
    """Refuses what cannot work, before anything is written."""
    choose.check(settings, objective.extra is not None, world)
    blocks.check(model, settings)
    rates.check(model, settings)
    open_source(text.train, objective.form, settings.length, Place(settings.seed))
    shortest = settings.length_at(0)
    if shortest < settings.length:
        objective.form.room(shortest)
    check_schedule(settings)
    known = roles(model, dict(model.named_parameters()))
    check_optimizer(settings, known, world.several and settings.parallel == "fsdp")
    if not fits(model, settings.length):
        raise SettingsError(
            f"train.length is {settings.length}, but the model reads at most {model.max_length} tokens: lower it, or "
            "make the model with a larger --model.max_length"
        )
    if settings.patience and text.validation is None:
        raise SettingsError("train.patience needs validation text, and there is none: tokenise with a validation split")


def deterministic(device: torch.device) -> None:
    """Asks a GPU for kernels that sum in a fixed order; on the CPU all that are used here do."""
    if device.type == "cuda":
        torch.use_deterministic_algorithms(True, warn_only=True)


def assemble(
    model: nn.Module,
    text: Text,
    settings: TrainSettings,
    precision: str,
    objective: Objective | None = None,
    world: World = ALONE,
    device: torch.device | None = None,
) -> Run:
    """A run at its beginning, on `device` (None: where the model is)."""
    objective = objective or NextToken()
    device = next(model.parameters()).device if device is None else device
    torch.manual_seed(settings.seed + world.rank)  # for dropout; the weights and the data have generators of their own
    together = model
    if objective.extra is not None:
        together = nn.ModuleDict({"model": model, "beside": objective.extra})
    if settings.recompute:
        blocks.recompute(together)
    if settings.compile and (why := blocks.compile_blocks(together, device)) is not None:
        say(f"train.compile has no effect: {why}", not world.first)
    if settings.sparse_tables and not world.several:  # processes exchange gradients as they lie in memory: whole
        look_up_sparsely(together)
    weights = choose.weights_for(model, together, precision, settings, world, device)
    known = roles(together, weights.masters)
    make = find_optimizer(settings.optimizer)
    if settings.mup_width is None:
        optimizer = make(weights.masters, settings, known)
    else:
        optimizer = make(weights.masters, settings, known, rates.factors(known, settings.mup_width, rates.width(model)))
    return Run(model, weights, optimizer, objective, text.train, settings, world)


def look_up_sparsely(model: nn.Module) -> None:
    """Makes the gradient of every table hold the rows that were looked up, and no others."""
    for module in model.modules():
        if isinstance(module, nn.Embedding):
            module.sparse = True


def own_line(run: Run, quiet: bool) -> Progress:
    """The line of progress of a run on its own."""
    return Progress("pretrain", run.settings.steps, "steps", start=run.at.step, quiet=quiet)


def sit(run: Run, text: Text, out: Path, files: ModelFiles, meter: Meter, line: Progress) -> None:
    """One sitting: trains until the run ends or is interrupted, and waits until all is saved."""
    settings, speaks = run.settings, run.world.first
    with ExitStack() as stack:
        wish = stack.enter_context(listening())
        saver = stack.enter_context(Saver(out, files.write, settings.keep, run.world))
        stack.enter_context(line)
        log = stack.enter_context(StepLog(out / folder.LOG, run.at.log_bytes)) if speaks else None
        hooks = make_hooks(run, text, wish, log, saver, line, meter)

        def last_good(steps: int) -> str:
            path = saver.last(steps)
            return f"the last good checkpoint is {path}" if path else "there is no checkpoint from before"

        train(run, hooks, meter, last_good)


def make_hooks(
    run: Run, text: Text, wish: Wish, log: StepLog | None, saver: Saver, line: Progress, meter: Meter
) -> list[Hook]:
    """The hooks of a run, in the order in which they act after a step; no log where another process writes it."""
    settings = run.settings
    hooks: list[Hook] = [Limits(settings.max_seconds, settings.last_step, wish)]
    if text.validation is not None and settings.eval_every:
        look = Validation(text.validation, run.objective, settings.length, settings.eval_tokens, settings.micro_rows)
        hooks.append(Evaluate(look, settings.eval_every, settings.patience, meter))
    if log is not None:
        hooks.append(Log(log, meter, settings.checkpoint_every))
    hooks.append(Save(saver, settings.checkpoint_every, meter))
    hooks.append(Show(line, meter))
    return hooks


def finish(run: Run, out: Path, files: ModelFiles, resolved: folder.Resolved) -> folder.Summary:
    """Writes the finished model (the best one where validation chose it) and the summary."""
    at, last = run.at, Snapshot()
    if at.best_loss is None:
        with run.averaged():
            last.take(run)
    if run.world.first:
        with atomic_folder(out / folder.MODEL) as place:
            if at.best_loss is not None:
                shutil.copytree(out / folder.BEST, place, dirs_exist_ok=True)
            else:
                files.write(place, last.model)
    summary = folder.Summary(
        model=str(out / folder.MODEL),
        parameters=sum(tensor.numel() for tensor in run.model.parameters()),
        steps=at.step,
        tokens=at.tokens,
        seconds=round(at.seconds, 3),
        loss=at.loss,
        validation_loss=at.best_loss,
        best_step=at.best_step if at.best_loss is not None else None,
        precision=resolved.precision,
        threads=resolved.threads,
        device=resolved.processor,
        memory=peak_memory(run.device),
        ended=at.ended or "",
        objective=" + ".join(run.objective.names),
        metrics=at.best_metrics,
    )
    return folder.Summary(**run.world.lead(lambda: summary.save(out)))
