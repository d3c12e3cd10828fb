"""How the processes of a run share the work: which weights, on which device, with how many threads."""

import os
import sys

import torch
from torch import nn

from nextword.core.distributed import World
from nextword.core.errors import SettingsError
from nextword.train.parallel.ddp import Replicated
from nextword.train.precision import Weights
from nextword.train.settings import TrainSettings


def check(settings: TrainSettings, beside: bool, world: World) -> None:
    """Refuses what several processes cannot do together; `beside`: something is trained beside the model."""
    if not world.several:
        return
    if settings.parallel == "none":
        raise SettingsError(
            f"train.parallel=none, but torchrun has started {world.size} processes: choose ddp or fsdp, or start one"
        )
    if beside and settings.parallel == "fsdp":
        raise SettingsError("this objective trains two models that share weights, which fsdp cannot shard: choose ddp")
    least = settings.rows_at(0)
    if least < world.size:
        raise SettingsError(
            f"train.batch {'begins with' if least < settings.batch else 'is'} {least}, too few rows for {world.size} "
            "processes: raise it, or start fewer"
        )


def weights_for(
    model: nn.Module, together: nn.Module, precision: str, settings: TrainSettings, world: World, device: torch.device
) -> Weights:
    """The weights of all that is trained `together`, alone, copied to every process, or shared out; on `device`."""
    if not world.several:
        return Weights(model, precision, together.to(device))
    if settings.parallel == "fsdp":
        from nextword.train.parallel.fsdp import Sharded  # noqa: PLC0415 - seconds that nobody else need wait

        return Sharded(model, precision, world, device)
    return Replicated(model, precision, world, together.to(device))


def device_of(name: str, world: World) -> torch.device:
    """The device of this process: with several processes on a machine, each has a GPU of its own."""
    device = torch.device(name)
    if device.type != "cuda" or not world.several:
        return device
    if world.local_rank >= torch.cuda.device_count():
        raise SettingsError(
            f"{world.local_size} processes on a machine with {torch.cuda.device_count()} GPUs: start one for each GPU"
        )
    device = torch.device("cuda", world.local_rank)
    torch.cuda.set_device(device)
    return device


def threads_of(world: World) -> int:
    """Threads for each process where the settings leave it open: the cores, shared among those of this machine."""
    if not world.several:
        return torch.get_num_threads()
    cores = os.cpu_count() if sys.platform != "linux" else len(os.sched_getaffinity(0))  # those we may use
    return max(1, (cores or 1) // world.local_size)
