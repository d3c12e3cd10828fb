"""Memory: how much there is, and how much tensors take while something is computed.

PyTorch counts what it holds on a GPU. On the CPU nobody does, so `Held` looks at the result of every operation, notes
the bytes of the memory behind it (its storage, which views share) and takes them off when that is freed. What an
operation holds only inside itself is not seen; for the operations of language models it is little.
"""

import sys
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

GROUP = Path("/sys/fs/cgroup")  # limits of a container, where there are any (Linux)


def free(device: torch.device) -> int:
    """Bytes that this process can still take on a device, or in main memory, before something has to give way."""
    if device.type == "cuda":
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0]) + cached
    available = int(psutil.virtual_memory().available)
    return available if sys.platform != "linux" else min(available, _of_group(GROUP))


def _of_group(folder: Path) -> int:
    """What a container's limit leaves; a very large number where there is none."""
    try:
        most, used = (int((folder / name).read_text()) for name in ("memory.max", "memory.current"))
        lines = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):
        return sys.maxsize
    return most - used + int(lines.get("inactive_file", 0))  # cached files give way


def bytes_of(tensors: Sequence[Tensor]) -> int:
    """Bytes of memory behind the tensors, each piece counted once."""
    storages = (tensor.untyped_storage() for tensor in tensors)
    return sum({storage._cdata: storage.nbytes() for storage in storages}.values())


class TooMuch(Exception):
    """More memory would be taken than allowed."""


class Held(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Bytes of tensors that were made while it lasts: `now`, and the most since the last `phase`."""

    def __init__(self, most: float) -> None:
        """most: bytes above which TooMuch is raised."""
        super().__init__()  # type: ignore[no-untyped-call]
        self.limit, self.now, self.highest = most, 0, 0
        self.known: dict[int, int] = {}  # storage -> bytes; 0 for one that was there before

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Runs the operation and counts its result."""
        kwargs = kwargs or {}
        for tensor in tree_leaves((args, kwargs)):
            if isinstance(tensor, Tensor):
                self.note(tensor, new=False)
        out = func(*args, **kwargs)
        for tensor in tree_leaves(out):
            if isinstance(tensor, Tensor):
                self.note(tensor, new=True)
        self.highest = max(self.highest, self.now)
        if self.now > self.limit:
            raise TooMuch
        return out

    def note(self, tensor: Tensor, new: bool) -> None:
        """Counts the memory of a tensor that has not been seen."""
        if tensor.is_sparse:  # a table's gradient: numbers of rows, and the rows
            self.note(tensor._indices(), new)
            self.note(tensor._values(), new)
            return
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self.known:
            return
        self.known[key] = storage.nbytes() if new else 0
        self.now += self.known[key]
        weakref.finalize(storage, self.drop, key).atexit = False

    def drop(self, key: int) -> None:
        """The memory is freed."""
        self.now -= self.known.pop(key, 0)

    def phase(self) -> int:
        """The most since this was last called; begins anew."""
        highest, self.highest = self.highest, self.now
        return highest


class HeldOnGpu:
    """The same by the counts of PyTorch's allocator."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def __enter__(self) -> "HeldOnGpu":
        torch.cuda.reset_peak_memory_stats(self.device)
        self.before = torch.cuda.memory_allocated(self.device)
        return self

    def __exit__(self, *error: object) -> None:
        torch.cuda.reset_peak_memory_stats(self.device)

    def phase(self) -> int:
        """The most since this was last called; begins anew."""
        highest = torch.cuda.max_memory_allocated(self.device) - self.before
        torch.cuda.reset_peak_memory_stats(self.device)
        return highest
