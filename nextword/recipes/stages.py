"""Stages that run once: a finished one with unchanged inputs is skipped, a changed one reruns with all after it.

A stage's fingerprint is a hash of everything that its result depends on: its settings and the fingerprint of the stage
before it. The ledger, `run.json` in the run's folder, remembers the fingerprint with which each stage began and whether
it finished. So a killed run goes on where it was, and a changed setting redoes what it touches and nothing else.
"""

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from nextword.core.errors import SettingsError
from nextword.core.files import fingerprint, read_json, write_json

LEDGER = "run.json"
Status = Literal["new", "changed", "unfinished", "finished"]


@dataclass(frozen=True)
class Stage:
    """One step of a run.

    `inputs` is a JSON-like tree of all that its result depends on besides the stage before it. `outputs` are the files
    and folders, below the run's folder, that it makes. `work` does it and returns a JSON-like summary; called again
    after an interruption it goes on or starts over, as it sees fit.
    """

    name: str
    inputs: Mapping[str, Any]
    outputs: Sequence[str]
    work: Callable[[], dict[str, Any]]


class Ledger:
    """What has been done in a run's folder."""

    def __init__(self, out: Path, recipe: str) -> None:
        """Opens or begins the ledger; refuses a folder that holds another recipe's run or anything else."""
        self.out, self.path = out, out / LEDGER
        self.tree: dict[str, Any] = {"recipe": recipe, "stages": {}}
        if self.path.exists():
            self.tree = read_json(self.path)
            known = self.tree.get("recipe") if isinstance(self.tree, dict) else None
            if known != recipe:
                raise SettingsError(f"{out} holds a run of recipe {known!r}, not {recipe!r}; choose another --out")
        elif out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise SettingsError(f"{out} exists and is no run of nextword; choose another --out, or an empty folder")

    def save(self) -> None:
        """Writes the ledger."""
        write_json(self.path, self.tree)

    def summary(self, name: str) -> dict[str, Any]:
        """What the finished stage `name` reported."""
        found: dict[str, Any] = self.tree["stages"][name]["summary"]
        return found

    def seconds(self, name: str) -> float:
        """Seconds of work that the stage `name` has taken, over all its sittings."""
        return float(self.tree["stages"].get(name, {}).get("seconds", 0.0))

    def plan(self, stages: Sequence[Stage]) -> list[tuple[Stage, str, Status]]:
        """Each stage with its fingerprint and where it stands."""
        plan: list[tuple[Stage, str, Status]] = []
        before = ""
        for stage in stages:
            mark = fingerprint({"inputs": stage.inputs, "before": before})
            plan.append((stage, mark, self.status(stage, mark)))
            before = mark
        return plan

    def status(self, stage: Stage, mark: str) -> Status:
        """Where `stage` stands if its fingerprint is `mark`."""
        entry = self.tree["stages"].get(stage.name)
        if entry is None:
            return "new"
        if entry["fingerprint"] != mark:
            return "changed"
        whole = entry["finished"] and all((self.out / output).exists() for output in stage.outputs)
        return "finished" if whole else "unfinished"

    def run(self, stages: Sequence[Stage], say: Callable[[str], None]) -> None:
        """Runs what is not finished, in order; what a changed stage made before is removed first."""
        for stage, mark, status in self.plan(stages):
            if status == "finished":
                say(f"{stage.name}: done before, unchanged")
                continue
            say(f"{stage.name}: {'goes on' if status == 'unfinished' else 'begins'}")
            if status == "changed":
                for output in stage.outputs:
                    remove(self.out / output)
            before = self.seconds(stage.name) if status == "unfinished" else 0.0
            entry = {"fingerprint": mark, "finished": False, "seconds": before}
            self.tree["stages"][stage.name] = entry
            self.save()
            began = time.monotonic()
            try:
                entry["summary"] = stage.work()
                entry["finished"] = True
            finally:
                entry["seconds"] = round(before + time.monotonic() - began, 2)
                self.save()


def remove(path: Path) -> None:
    """Removes a file, a link or a whole folder; nothing there is fine."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
