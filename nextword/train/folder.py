"""The folder of a training run: what it was begun with, and whether it may go on with what is asked now.

    OUT/
      settings.json    every setting, what was resolved on this machine, and what the run depends on
      log.jsonl        one line a step
      checkpoints/     step-00000100/ ...; what a run goes on from
      best/            the model with the lowest validation loss so far
      model/           the finished model: a Hugging Face folder
      summary.json     the figures at the end

A run goes on only with the settings, text and first weights that it began with, because anything else would end as a
model that no settings file describes.
"""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from nextword.core.device import choose as choose_device
from nextword.core.device import describe
from nextword.core.distributed import ALONE, World
from nextword.core.errors import CheckpointError, SettingsError
from nextword.core.files import PARTIAL, finish_swap, read_json, write_json
from nextword.core.settings import to_tree
from nextword.train import lock
from nextword.train.parallel.choose import threads_of
from nextword.train.precision import choose as choose_precision
from nextword.train.settings import TrainSettings

SETTINGS, LOG, BEST, MODEL, SUMMARY = "settings.json", "log.jsonl", "best", "model", "summary.json"
SHOWN = 4  # differences that an error names


@dataclass(frozen=True)
class Resolved:
    """What "auto" came to on this machine; it stays so for the whole run."""

    precision: str
    why: str
    device: str
    threads: int
    processor: str
    processes: int = 1


def begin(
    out: Path,
    depends: Mapping[str, Any],
    settings: TrainSettings,
    resolve: Callable[[], Resolved],
    world: World = ALONE,
) -> Resolved:
    """Begins a run in `out`, or checks that the one there is the one asked for; what was resolved when it began.

    depends: a JSON-like tree of all that the run's result depends on (text, model, settings).
    Raises SettingsError naming what differs, or that the folder holds something else.
    """
    tidy(out)
    path = out / SETTINGS
    wanted = flatten(depends)
    if path.exists():
        tree = read_json(path, CheckpointError)
        try:
            known, resolved = tree["run"], Resolved(**tree["resolved"])
        except (KeyError, TypeError):
            raise CheckpointError(f"{path} describes no training run; choose another --out") from None
        refuse_differences(out, known, wanted)
        return resolved if resolved.processes == world.size else spread(resolved, settings, world)
    if any(entry.name != lock.NAME for entry in out.iterdir()):
        raise SettingsError(f"{out} is not empty and holds no training run; choose another --out")
    resolved = resolve()
    tree = {"nextword": version("nextword"), "torch": torch.__version__, "resolved": asdict(resolved)}
    write_json(path, tree | {"run": wanted, "settings": to_tree(settings)})
    return resolved


def tidy(out: Path) -> None:
    """Puts right what a killed process left half done; call it only while holding the run's lock."""
    for name in (BEST, MODEL):
        finish_swap(out / name)
    for left in out.glob(f"*{PARTIAL}"):
        if left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)


def resolve(settings: TrainSettings, world: World = ALONE) -> Resolved:
    """Chooses threads, device and precision; measures where the settings say "auto"."""
    torch.set_num_threads(threads_of(world) if settings.threads is None else settings.threads)
    device = choose_device(settings.device)
    choice = choose_precision(settings.precision, device)
    threads = torch.get_num_threads()
    return Resolved(choice.precision, choice.why, str(device), threads, describe(device), world.size)


def spread(resolved: Resolved, settings: TrainSettings, world: World) -> Resolved:
    """What was resolved, for another number of processes: the threads are shared out anew."""
    threads = threads_of(world) if settings.threads is None else settings.threads
    return replace(resolved, threads=threads, processes=world.size)


def frozen(settings: TrainSettings) -> dict[str, Any]:
    """The settings that decide the result: those that may not change when a run goes on."""
    return {name: value for name, value in to_tree(settings).items() if name not in TrainSettings.FREE}


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"train": {"steps": 10}} -> {"train.steps": 10}."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def refuse_differences(out: Path, known: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Raises SettingsError naming the first settings in which the run in `out` differs from the one asked for."""
    keys = [key for key in {**known, **wanted} if known.get(key) != wanted.get(key)]
    if keys:
        found = "; ".join(f"{key} was {known.get(key)!r}, now {wanted.get(key)!r}" for key in keys[:SHOWN])
        more = f"; and {len(keys) - SHOWN} more" if len(keys) > SHOWN else ""
        raise SettingsError(f"{out} holds another run: {found}{more}; ask for the same, or choose another --out")


@dataclass(frozen=True)
class Summary:
    """The figures of a finished run: losses in nats per token, memory in bytes.

    ended: finished, patience, time or stop. metrics: the objective's, from the look with the best validation loss.
    """

    model: str
    parameters: int
    steps: int
    tokens: int
    seconds: float
    loss: float | None
    validation_loss: float | None
    best_step: int | None
    precision: str
    threads: int
    device: str
    memory: int
    ended: str
    objective: str = "next_token"
    metrics: dict[str, float] = field(default_factory=dict)

    @property
    def tokens_per_second(self) -> float:
        """Over the whole run, with evaluations and checkpoints."""
        return self.tokens / max(self.seconds, 1e-9)

    def save(self, out: Path) -> dict[str, Any]:
        """Writes summary.json: the run is finished. Its figures."""
        tree = asdict(self)
        write_json(out / SUMMARY, tree | {"tokens_per_second": round(self.tokens_per_second, 1)})
        return tree


def finished(out: Path, settings: TrainSettings) -> Summary | None:
    """The summary of a run that has nothing left to do; None where it goes on (perhaps because it was given more)."""
    if not (out / SUMMARY).exists() or not (out / MODEL).is_dir():
        return None
    tree = read_json(out / SUMMARY, CheckpointError)
    try:
        summary = Summary(**{key: value for key, value in tree.items() if key != "tokens_per_second"})
    except (AttributeError, TypeError):
        raise CheckpointError(f"{out / SUMMARY} is no summary of a run: delete it, and the run goes on") from None
    return None if more_left(summary.ended, summary.seconds, summary.steps, settings) else summary


def more_left(ended: str | None, seconds: float, step: int, settings: TrainSettings) -> bool:
    """Whether a run that ended so has been given more time, or more steps, than it ended with."""
    more_time = ended == "time" and seconds < settings.max_seconds
    return more_time or (ended == "stop" and step < settings.last_step)
