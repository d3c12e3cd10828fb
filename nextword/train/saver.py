"""Saving while training goes on: another thread copies the state and writes the copy.

The forward and backward pass after a save only read what is saved; the first thing to change it is the optimizer's
update. So the training thread goes on at once and waits, before that update, only if the copy (into buffers that are
made once) should not be done by then. Hashing, writing and flushing to the disk happen beside the next steps. One save
is under way at a time: a second one waits for the first.
"""

import copy
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self

import torch
from torch import Tensor, nn

from nextword.core.files import atomic_folder
from nextword.train import checkpoint
from nextword.train.folder import BEST
from nextword.train.image import Image
from nextword.train.run import Run


class Saver:
    """Writes checkpoints and the best model of a run below `out`.

    write_model(folder, model) makes a Hugging Face folder, tokenizer included. An error of the writing thread is raised
    in the training thread at the next save, look (`check`) or end.
    """

    def __init__(self, out: Path, write_model: Callable[[Path, nn.Module], None], keep: int) -> None:
        self.out, self.write_model, self.keep = out, write_model, keep
        self.thread = ThreadPoolExecutor(1, "checkpoint")
        self.job: Future[None] | None = None
        self.copy: nn.Module | None = None
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
        tensors = run.tensors() if state else {}  # the random state is a copy already, and must be of this moment
        copied = run.copied = threading.Event()
        self.job = self.thread.submit(self._save, run.model, tensors, run.to_json() if state else None, best, copied)

    def _save(
        self, model: nn.Module, tensors: dict[str, Tensor], counts: dict | None, best: bool, copied: threading.Event
    ) -> None:
        try:
            self._copy_model(model)
            if counts is not None:
                if self.image is None or not self.image.fits(tensors):
                    self.image = Image(tensors)
                self.image.take(tensors)
        finally:
            copied.set()
        self._write(counts, best)

    @torch.no_grad()
    def _copy_model(self, model: nn.Module) -> None:
        if self.copy is None:
            self.copy = copy.deepcopy(model).to("cpu")
            return
        for mine, theirs in zip(self.copy.state_dict().values(), model.state_dict().values(), strict=True):
            mine.copy_(theirs)

    def _write(self, counts: dict | None, best: bool) -> None:
        if best:  # before the checkpoint that counts it as the best
            with atomic_folder(self.out / BEST) as folder:
                self.write_model(folder, self.copy)
        if counts is not None:
            checkpoint.write(
                self.out, counts, self.image, lambda folder: self.write_model(folder, self.copy), self.keep
            )

    def check(self) -> None:
        """Raises the error of a save that has failed, if one has."""
        if self.job is not None and self.job.done():
            self.wait()

    def wait(self) -> None:
        """Waits until what was to be saved is on the disk; raises the error if it failed."""
        job, self.job = self.job, None
        if job is not None:
            job.result()

    def last(self) -> Path | None:
        """The newest checkpoint, once the save under way has ended."""
        self.wait()
        return next(reversed(checkpoint.all_of(self.out)), None)
