"""The state of a run in several files, one written by each process, read by any number of them.

Process r of n writes `state-0000r-of-0000n.safetensors`, its rows of every tensor (in chunks, as PyTorch shards), and
beside it a JSON file with the file's SHA-256 and the place of its rows. The rows of rank 0, then those of rank 1 and so
on make the whole tensor; a process of another run, alone or one of many, reads only the rows that it needs.
Numbers are written by process 0; "random.*" belongs to the process that wrote it.
"""

from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch
from safetensors import safe_open
from torch import Tensor

from nextword.core.errors import CheckpointError

WHOLE = "state.safetensors"
OWN = "random."  # what every process has for itself


def name_of(rank: int, size: int) -> str:
    """The file of one process; that of a single one is the whole state."""
    return WHOLE if size == 1 else f"state-{rank:05d}-of-{size:05d}.safetensors"


def files_of(state: Path) -> list[Path]:
    """The files of the state that is called `state` (.../state.safetensors), by rank."""
    return [state] if state.exists() else sorted(state.parent.glob(f"{state.stem}-*-of-*{state.suffix}"))


class Parts:
    """The tensors of a saved state, whatever the number of files; `with Parts(path) as parts`."""

    def __init__(self, state: Path) -> None:
        """Raises CheckpointError when there is no such state."""
        self.paths = files_of(state)
        if not self.paths:
            raise CheckpointError(f"{state} is missing")

    def __enter__(self) -> Self:
        self.stack = ExitStack()
        self.files: list[Any] = [self.stack.enter_context(safe_open(path, framework="pt")) for path in self.paths]
        self.keys = [set(file.keys()) for file in self.files]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stack.close()

    @property
    def names(self) -> list[str]:
        """The tensors that there are."""
        return sorted(set().union(*self.keys))

    def own(self, name: str, rank: int, size: int) -> Tensor | None:
        """What process `rank` of `size` wrote for itself; None where another number of processes saved."""
        return self.files[rank].get_tensor(name) if len(self.files) == size and name in self.keys[rank] else None

    def rows(self, name: str) -> int | None:
        """The rows of a tensor in all files together; None of a number."""
        shapes = [file.get_slice(name).get_shape() for file in self.with_name(name)]
        return sum(shape[0] for shape in shapes) if shapes[0] else None

    def read(self, name: str, wanted: slice) -> Tensor:
        """Those rows of a tensor."""
        found, before = [], 0
        for file in self.with_name(name):
            part = file.get_slice(name)
            rows = part.get_shape()[0]
            start, stop = max(wanted.start - before, 0), min(wanted.stop - before, rows)
            if start < stop:
                found.append(part[start:stop])
            before += rows
        return torch.cat(found) if found else self.with_name(name)[0].get_slice(name)[:0]

    def number(self, name: str) -> Tensor:
        """A tensor without rows."""
        return self.with_name(name)[0].get_tensor(name)

    def with_name(self, name: str) -> list[Any]:
        """The files that have some of a tensor."""
        return [file for file, keys in zip(self.files, self.keys, strict=True) if name in keys]
