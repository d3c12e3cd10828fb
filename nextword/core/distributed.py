"""Several processes that work as one: who they are, and the few things they say to each other.

`torchrun --nproc-per-node 2 -m nextword.cli ...` starts the same command several times and numbers the processes (their
rank, from 0). They run the same code on different rows and meet in collectives: calls that every process makes, in the
same order, and that return when all have made them. What is small and decides something (counts, wishes, errors) goes
as numbers or JSON over gloo, on the CPU; gradients and weights go over NCCL where there are GPUs.

A process that fails alone would leave the others waiting. So work that may fail is done by `attempt` or `lead`: where
one fails, all fail, process 0 with the error and the others in silence (`Elsewhere`). A process that dies is noticed by
its broken connection, one that hangs by TIMEOUT.
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.rendezvous import rendezvous

from nextword.core.errors import Elsewhere, NextwordError, SettingsError, TrainingError
from nextword.core.meeting import meet

TIMEOUT = timedelta(minutes=10)  # of a collective: longer than a checkpoint takes to write, shorter than a night
PATIENCE = timedelta(days=30)  # of those who wait while process 0 alone works (tokenising, say)
T = TypeVar("T")


@dataclass(frozen=True)
class World:
    """The processes of a run, seen by one of them; without torchrun there is one, and nothing here costs anything.

    local_rank, local_size: among the processes on this machine. saving, patient: groups of all processes for what is
    said beside training (by the thread that saves) and for long waits; the default group is for training.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1
    saving: Any = None
    patient: Any = None

    @property
    def first(self) -> bool:
        """Whether this is the process that speaks, logs and writes for all."""
        return self.rank == 0

    @property
    def several(self) -> bool:
        """Whether there are others."""
        return self.size > 1

    def total(self, numbers: Sequence[float]) -> list[float]:
        """The sums of the processes' numbers, the same on all of them."""
        if not self.several:
            return list(numbers)
        sums = torch.tensor(numbers, dtype=torch.float64)
        with losing():
            dist.all_reduce(sums)
        return sums.tolist()

    def counts(self, counts: Mapping[str, int]) -> dict[str, int]:
        """`total` of counts by name."""
        if not self.several:
            return dict(counts)
        names = sorted(counts)
        return dict(zip(names, map(int, self.total([counts[name] for name in names])), strict=True))

    def tensors(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """`total` of tensors by name, on the CPU; all processes have them in the same shapes."""
        flat = [number for name in sorted(tensors) for number in tensors[name].double().flatten().tolist()]
        sums, start, found = torch.tensor(self.total(flat), dtype=torch.float64), 0, {}
        for name in sorted(tensors):
            size = tensors[name].numel()
            found[name] = sums[start : start + size].view(tensors[name].shape).to(tensors[name].dtype)
            start += size
        return found

    def any(self, flag: bool) -> bool:
        """Whether any process says so."""
        return self.total([float(flag)])[0] > 0

    def gather(self, tree: Any, group: Any = None) -> list[Any]:
        """The JSON-like trees of all processes, by rank, on all of them."""
        if not self.several:
            return [tree]
        data = torch.frombuffer(bytearray(json.dumps(tree).encode()), dtype=torch.uint8)
        sizes = [torch.zeros(1, dtype=torch.int64) for _ in range(self.size)]
        with losing():
            dist.all_gather(sizes, torch.tensor([len(data)]), group=group)
            room = max(int(size) for size in sizes)
            rooms = [torch.zeros(room, dtype=torch.uint8) for _ in range(self.size)]
            dist.all_gather(rooms, torch.nn.functional.pad(data, (0, room - len(data))), group=group)
        return [json.loads(bytes(text[: int(size)].tolist())) for text, size in zip(rooms, sizes, strict=True)]

    def share(self, tree: Any, group: Any = None) -> Any:
        """Process 0's JSON-like tree, on all of them."""
        return self.gather(tree if self.first else None, group)[0]

    def attempt(self, work: Callable[[], T], group: Any = None) -> T:
        """What `work` gives; where it fails on one process it fails on all, which then know why."""
        if not self.several:
            return work()
        result, failed = None, None
        try:
            result = work()
        except (NextwordError, OSError) as error:
            failed = error
        answers = self.gather(None if failed is None else told(failed), group)
        self.refuse(answers, failed)
        return result  # type: ignore[return-value]

    def lead(self, work: Callable[[], Any], group: Any = None) -> Any:
        """What process 0 alone makes of `work`, a JSON-like tree, on all processes."""
        if not self.several:
            return work()
        tree, failed = None, None
        if self.first:
            try:
                tree = work()
            except (NextwordError, OSError) as error:
                failed = error
        answer = self.share([tree, None if failed is None else told(failed)], group)
        self.refuse([answer[1]], failed)
        return answer[0]

    def refuse(self, answers: Sequence[Any], failed: Exception | None) -> None:
        """Raises what the first process that failed says, if one did: on process 0 in words, elsewhere silently."""
        wrong = [(rank, answer) for rank, answer in enumerate(answers) if answer is not None]
        if not wrong:
            return
        rank, (message, code) = wrong[0]
        if not self.first:
            raise Elsewhere(code)
        if failed is not None:
            raise failed
        error = SettingsError if code == SettingsError.exit_code else TrainingError
        raise error(f"process {rank} of {self.size}: {message}")

    def told(self, error: NextwordError) -> NextwordError:
        """An error that all processes have found: as it is on process 0, silent on the others."""
        return error if self.first else Elsewhere(error.exit_code)


ALONE = World()


def told(error: Exception) -> tuple[str, int]:
    """An error for the other processes: its words, and the status with which to exit."""
    return str(error), error.exit_code if isinstance(error, NextwordError) else NextwordError.exit_code


@contextmanager
def losing() -> Iterator[None]:
    """Says in one line that another process is gone, where the network says it in many."""
    try:
        yield
    except RuntimeError as error:
        if not is_loss(error):
            raise
        raise TrainingError(
            "another process of the run was lost or does not answer; the last checkpoint is whole: run the same "
            "command again, or let torchrun do it (--max-restarts)"
        ) from error


def is_loss(error: RuntimeError) -> bool:
    """Whether an error of PyTorch's speaks of the connection to other processes."""
    return isinstance(error, dist.DistError) or any(word in str(error).lower() for word in ("gloo", "nccl", "peer"))


@contextmanager
def joined() -> Iterator[World]:
    """The processes that torchrun started, connected while the block lasts; ALONE where there is only this one."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield ALONE
        return
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    try:
        with losing():
            store, rank, size = next(iter(rendezvous("env://", timeout=TIMEOUT)))
            dist.init_process_group(
                backend, timeout=TIMEOUT, store=meet(store, rank, size, TIMEOUT), rank=rank, world_size=size
            )
            saving, patient = (dist.new_group(backend="gloo", timeout=wait) for wait in (TIMEOUT, PATIENCE))
    except ValueError as error:
        raise SettingsError(f"WORLD_SIZE is {size} but the rest that torchrun sets is missing: {error}") from None
    local_rank, local_size = int(os.environ.get("LOCAL_RANK", "0")), int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    world = World(rank, size, local_rank, local_size, saving, patient)
    with losing():
        yield world
    dist.destroy_process_group()  # only after success: with a process lost it could wait for it
