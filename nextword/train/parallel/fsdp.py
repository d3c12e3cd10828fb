"""Sharded data parallelism: every process keeps some rows of each weight, of its gradient and of its running means.

Just before a block computes, its weights are gathered from all processes, and dropped again afterwards; in the backward
pass they are gathered once more, and the gradients are summed and scattered, so that each process has the sum for its
own rows. Masters, means and gradients so take 1/N of the memory, for half as much traffic again as plain data
parallelism (Rajbhandari et al., "ZeRO", 2020; Zhao et al., "PyTorch FSDP", 2023). The gathering is PyTorch's
`fully_shard`; in bf16 and fp16 what is gathered is rounded from the fp32 masters, and gradients are summed in fp32.
"""

import copy
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor

from nextword.core.distributed import World
from nextword.nn.block import Block
from nextword.train.parallel.share import chunk
from nextword.train.precision import Weights

T = TypeVar("T")


class Whole(nn.Module):
    """A model whose every use is one forward, so that its weights are there for whatever is done with it."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, work: Callable[[nn.Module], T]) -> T:
        """What `work` makes of the model."""
        return work(self.model)


class Sharded(Weights):
    """Weights of which every process has some rows. `masters` are those rows; the model's own are gathered for use."""

    def __init__(self, model: nn.Module, precision: str, world: World, device: torch.device) -> None:
        self.world, self.device = world, device
        super().__init__(model, precision)

    def adopt(self, dtype: torch.dtype) -> None:
        """Shards every block, then what is left; the model's own weights are fp32 masters."""
        self.dtype = dtype
        self.copy = copy.deepcopy(self.model).to(dtype) if self.world.first else None
        for tensor in self.model.parameters():
            tensor.data = tensor.data.to(torch.float32, copy=True)
        mesh = init_device_mesh(self.device.type, (self.world.size,))
        policy = MixedPrecisionPolicy(
            param_dtype=dtype if self.low else None, reduce_dtype=torch.float32, cast_forward_inputs=False
        )
        self.root = Whole(self.model)
        for module in (*units(self.model), self.root):
            sharded = fully_shard(module, mesh=mesh, mp_policy=policy)
            sharded.set_gradient_divide_factor(1.0)  # a sum over processes, as the loss is one
            sharded.set_force_sum_reduction_for_comms(True)
        self.parameters = {name: tensor for name, tensor in self.model.named_parameters() if tensor.requires_grad}
        self.masters = {name: local(tensor) for name, tensor in self.parameters.items()}

    def call(self, work: Callable[[nn.Module], T]) -> T:
        """As Weights'; every process must call it, and use the same blocks as often."""
        result: T = self.root(work)
        if not torch.is_grad_enabled():
            self.root.reshard()  # what was gathered would be old after the next update
        return result

    def backward(self, loss: Tensor, last: bool = True) -> None:
        """As Weights'; with the batch's last part, gradients are summed and scattered."""
        self.root.set_requires_gradient_sync(last)
        self.root.set_is_last_backward(last)
        (loss * self.scale if self.scaling else loss).backward()
        if last:
            for name, tensor in self.parameters.items():
                self.masters[name].grad = None if tensor.grad is None else local(tensor.grad)

    def norm(self, gradients: list[Tensor]) -> Tensor:
        """The norm over the rows of all processes."""
        square = super().norm(gradients).double().square().item()
        return torch.tensor(self.world.total([square])[0] ** 0.5, dtype=torch.float32, device=self.device)

    def publish(self) -> None:
        """The masters are the model's own; gradients are forgotten."""
        for name, tensor in self.parameters.items():
            tensor.grad = self.masters[name].grad = None

    def plain(self) -> nn.Module:
        """The model as it was before it was sharded, on process 0."""
        return self.copy

    def whole(self) -> Iterable[tuple[str, Tensor]]:
        """Every tensor gathered, one after the other, on all processes."""
        for name, tensor in self.root.state_dict().items():
            whole = tensor.detach().full_tensor() if isinstance(tensor, DTensor) else tensor
            yield name.removeprefix("model."), whole.to(self.dtype) if whole.is_floating_point() else whole

    @torch.no_grad()
    def load(self, state: Mapping[str, Tensor]) -> None:
        """Takes this process's rows."""
        for name, tensor in self.root.state_dict().items():
            value = state[name.removeprefix("model.")]
            if isinstance(tensor, DTensor):
                local(tensor).copy_(value[self.held(value.shape[0])])
            else:
                tensor.copy_(value)

    def written(self, tensor: Tensor) -> Tensor | None:
        """What it has; a number is written by process 0 alone."""
        return tensor if tensor.ndim or self.world.first else None

    def held(self, rows: int) -> slice:
        """Its chunk."""
        return chunk(rows, self.world.rank, self.world.size)


def units(model: nn.Module) -> list[nn.Module]:
    """What is gathered together: blocks; of a block that asks a source, the parts that nothing but the block uses.

    (Its keys and values of the source are computed before the first block runs, so they are gathered with the rest.)
    """
    found: list[nn.Module] = []
    for module in model.modules():
        if isinstance(module, Block):
            found += [module] if module.settings.cross is None else [module.attention, module.feedforward]
    return found


def local(tensor: Tensor) -> Tensor:
    """This process's rows of a sharded tensor, in the same memory."""
    return tensor.detach().to_local()
