"""Work that is written down once and then repeated as it stands, without Python and without a call for each operation.

A decoding step of a small model on a GPU is hundreds of operations of a few microseconds each, and telling the GPU what
to do takes longer than doing it. A CUDA graph is the list of these operations with the addresses of all they read and
write: replaying it is one call. So what changes from step to step has to stand in tensors that never move, and neither
shapes nor Python's decisions may depend on it (Gray, "Getting Started with CUDA Graphs", NVIDIA, 2019).

`torch.compile` before recording joins operations into fewer kernels, which pays for texts long enough to outweigh a
minute of compiling.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

import torch
from torch import Tensor

WARM = 3  # runs before recording: libraries choose their kernels and take their memory in the first ones
SHAPES = 64  # of one function that may be compiled, each by itself

Work = Callable[..., Tensor]  # of the tensors that are given when it is recorded


class Recorder(Protocol):
    """Runs work on tensors that stay where they are; what it gives repeats it, into the same result."""

    def __call__(self, work: Work, tensors: Sequence[Tensor]) -> Callable[[], Tensor]: ...  # noqa: D102


class GraphRecorder:
    """CUDA graphs of one device, which share their memory for what lies between first and last operation.

    They may: one runs at a time, and what it results in is read before the next does.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.pool = torch.cuda.graph_pool_handle()

    def __call__(self, work: Work, tensors: Sequence[Tensor]) -> Callable[[], Tensor]:
        """Records `work(*tensors)`, after runs whose effects must be those of one run."""
        with torch.cuda.device(self.device):
            beside = torch.cuda.Stream()
            beside.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(beside):
                for _ in range(WARM):
                    work(*tensors)
            torch.cuda.current_stream().wait_stream(beside)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, pool=self.pool):
                result = work(*tensors)

        def replay() -> Tensor:
            graph.replay()
            return result

        return replay


class CompiledRecorder:
    """`torch.compile` in front of another recorder. Work is compiled whole: what breaks a graph is an error."""

    def __init__(self, recorder: Recorder, backend: str = "inductor") -> None:
        self.recorder, self.backend = recorder, backend

    def __call__(self, work: Work, tensors: Sequence[Tensor]) -> Callable[[], Tensor]:
        """Compiles for these shapes, then records."""
        compiled = torch.compile(work, fullgraph=True, dynamic=False, backend=self.backend)
        with torch._dynamo.config.patch(recompile_limit=SHAPES):
            compiled(*tensors)
        return self.recorder(compiled, tensors)


def again(work: Work, tensors: Sequence[Tensor]) -> Callable[[], Tensor]:
    """A recorder for devices without graphs: the work is done anew each time."""
    return partial(work, *tensors)
