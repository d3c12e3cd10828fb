"""What two processes do in the tests, one scenario after the other; torchrun starts it, `test_several.py` reads it.

Arguments: the folder to write to, in which the test has left a run of one process, interrupted ("one").
"""

import json
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import setting  # beside this file
import torch

from nextword.core.distributed import World, joined
from nextword.core.errors import NextwordError
from nextword.train import pretrain as training
from nextword.train.image import Image
from nextword.train.optimizers import adamw8bit


def run(out: Path, world: World, *, stop: int | None = None, ids: int = 0, **changes: object) -> str:
    """One run; "" or what it failed with."""

    @contextmanager
    def listening() -> Iterator[object]:
        yield setting.Finger(stop if world.rank == 1 else None)  # who asks is not the one who saves

    training.listening = listening
    try:
        setting.pretrain(out, world, ids=ids, **changes)
    except (NextwordError, KeyboardInterrupt) as error:
        return f"{type(error).__name__}: {error}"
    return ""


def full_disk(image: Image, path: Path) -> str:
    if "00000006" in str(path):
        raise OSError(28, "No space left on device")
    return WRITE(image, path)


def die(image: Image, path: Path) -> str:
    if "00000006" in str(path):
        path.write_bytes(b"some of it")
        os.kill(os.getpid(), signal.SIGKILL)
    return WRITE(image, path)


WRITE = Image.write
OPTIMIZERS = [("ddp", "muon", {"muon_every": 2, "muon_normalised": True}),
              ("ddp", "adamw8bit", {}), ("fsdp", "lion", {"cautious_decay": True})]  # fmt: skip


def main(out: Path, world: World) -> None:
    """All scenarios; what each process has seen goes to `seen-RANK.json`."""
    seen: dict[str, str] = {}

    def note(name: str, what: str) -> None:
        seen[name] = what
        beside = out / f"seen-{world.rank}.json.new"  # a process may be killed while it writes
        beside.write_text(json.dumps(seen))
        beside.replace(out / f"seen-{world.rank}.json")

    for kind in ("ddp", "fsdp"):
        note(kind, run(out / kind, world, parallel=kind, micro_batch=2))
        note(f"{kind}-t5", run(out / f"{kind}-t5", world, parallel=kind, micro_batch=2, family="t5"))
        note(f"{kind}-half", run(out / f"{kind}-half", world, parallel=kind, stop=4))
        note(f"one-{kind}", run(out / f"one-{kind}", world, parallel=kind))  # begun by one process
        full = {"parallel": kind, "precision": "bf16", "dropout": 0.2, "ema": 0.9, "recompute": kind == "fsdp"}
        note(f"{kind}-full", run(out / f"{kind}-full", world, **full))
        note(f"{kind}-parts", run(out / f"{kind}-parts", world, stop=3, **full))
        note(f"{kind}-parts", run(out / f"{kind}-parts", world, **full))
    adamw8bit.SMALL = 64  # of this model's matrices, none has 4,096 numbers
    for kind, name, more in OPTIMIZERS:
        changes = {"parallel": kind, "optimizer": name, "steps": 5, **more}
        note(f"{kind}-{name}", run(out / f"{kind}-{name}", world, **changes))
        note(f"{kind}-{name}-parts", run(out / f"{kind}-{name}-parts", world, stop=3, **changes))
        note(f"{kind}-{name}-parts", run(out / f"{kind}-{name}-parts", world, **changes))
    note("rows", run(out / "rows", world, parallel="fsdp", optimizer="muon"))
    if world.first:
        shutil.copytree(out / "ddp-half", out / "ddp-fsdp")
    world.gather(None)
    note("ddp-fsdp", run(out / "ddp-fsdp", world, parallel="fsdp"))
    note("data", run(out / "data", world, ids=world.rank))
    note("settings", run(out / "settings", world, keep=2 + world.rank))
    note("none", run(out / "none", world, parallel="none"))
    note("few", run(out / "few", world, batch=1))
    if world.rank == 1:
        Image.write = full_disk
    note("disk", run(out / "disk", world))
    if world.rank == 1:
        Image.write = die
    note("lost", run(out / "lost", world))


if __name__ == "__main__":
    torch.set_num_threads(1)
    with joined() as joint:
        main(Path(sys.argv[1]), joint)
