"""Saving while training goes on: another thread copies the state and writes the copy.


The forward and backward pass after a save only read what is saved; the first thing to change it is the optimizer's
update. So the training thread goes on at once and waits, before that update, only if the copy (into buffers that are
made once) should not be done by then. Hashing, writing and flushing to the disk happen beside the next steps. One save
is under way at a time: a second one waits for the first.

Where several processes train together, each writes its part of the state, and the model is process 0's to write; there,
and where averaged weights take the model's place for the copy, the training thread copies by itself.
"""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self

import torch
from torch import Tensor, nn

from nextword.core.distributed import ALONE, World
from nextword.core.files import atomic_folder
from nextword.train import checkpoint
from nextword.train.folder import BEST
from nextword.train.image import Image
from nextword.train.parallel import saving
from nextword.train.run import Run


class Snapshot:
    """A copy of a model on the CPU, made once and then only overwritten (on process 0; the others only help)."""

    def __init__(self) -> None:
        self.model: nn.Module | None = None

    @torch.no_grad()
    def take(self, run: Run) -> None:
        """Copies the model's weights as they are now."""
        if self.model is None and run.world.first:
            self.model = run.weights.plain()
        mine = self.model.state_dict() if self.model is not None else {}
        for name, tensor in run.weights.whole():
            if mine:
                mine[name].copy_(tensor)


class Saver:
    """Writes checkpoints and the best model of a run below `out`.

    write_model(folder, model) makes a Hugging Face folder, tokenizer included. An error of the writing thread is raised
    in the training thread at the next save, look (`check`) or end.
    """

    def __init__(
        self, out: Path, write_model: Callable[[Path, nn.Module], None], keep: int, world: World = ALONE
    ) -> None:
        self.out, self.write_model, self.keep, self.world = out, write_model, keep, world
        self.thread = ThreadPoolExecutor(1, "checkpoint")
        self.job: Future[None] | None = None
        self.current, self.best = Snapshot(), Snapshot()
        self.chosen = self.current  # whose model is written as the best
        self.image: Image | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.thread.shutdown(wait=True)
        if error is None:
            self.wait()

    def save(self, run: Run, *, state: bool, best: bool) -> None:
        """Copies the run as it is now and writes the best model's folder, a checkpoint, or both, in the background.

        Until the copy is made, `run.settle` waits for it.
        """
        self.wait()
        if run.world.several or run.average is not None:
            self._copy(run, run.written() if state else None, best)
            self.job = self.thread.submit(self._write, run.to_json() if state else None, best)
            return
        tensors = run.written() if state else None  # the random state is a copy already, and must be of this moment
        counts = run.to_json() if state else None
        copied = run.copied = threading.Event()
        self.job = self.thread.submit(self._copy_and_write, run, tensors, counts, best, copied)

    def _copy_and_write(
        self, run: Run, tensors: dict[str, Tensor] | None, counts: dict | None, best: bool, copied: threading.Event
    ) -> None:
        try:
            self._copy(run, tensors, best)
        finally:
            copied.set()
        self._write(counts, best)

    def _copy(self, run: Run, tensors: dict[str, Tensor] | None, best: bool) -> None:
        if tensors is not None or run.average is None:
            self.current.take(run)
        if best and run.average is not None:
            with run.averaged():
                self.best.take(run)
        if tensors is not None:
            if self.image is None or not self.image.fits(tensors):
                self.image = Image(tensors)
            self.image.take(tensors)
        self.chosen = self.current if run.average is None else self.best

    def _write(self, counts: dict | None, best: bool) -> None:
        if best and self.chosen.model is not None:  # before the checkpoint that counts it as the best
            with atomic_folder(self.out / BEST) as folder:
                self.write_model(folder, self.chosen.model)
        if counts is None:
            return

        def write_model(folder: Path) -> None:
            self.write_model(folder, self.current.model)

        if self.world.several:
            saving.write(self.out, counts, self.image, write_model, self.keep, self.world)
        else:
            checkpoint.write(self.out, counts, self.image, write_model, self.keep)

    def check(self) -> None:
        """Raises the error of a save that has failed, if one has."""
        if self.job is not None and self.job.done():
            self.wait()

    def wait(self) -> None:
        """Waits until what was to be saved is on the disk; raises the error if it failed."""
        job, self.job = self.job, None
        if job is not None:
            job.result()

    def last(self, steps: int) -> Path | None:
        """The newest checkpoint after at most so many steps, once the save under way has ended."""
        self.wait()
        found = (path for path in checkpoint.all_of(self.out) if path.name <= checkpoint.name_of(steps))
        return max(found, default=None)
