"""AdamW whose two means are kept in 8 bits (Dettmers et al. 2022): a quarter of the memory, nearly the same updates.

Each step reads a tensor's m and v from their codes, makes AdamW's update in fp32, and writes the nearest codes back.
What is rounded is what is remembered, never the weights. As the authors advise, tables stay in fp32 (the gradients of
rare words are unlike those of frequent ones), and so do small tensors, of fewer than 4,096 numbers.
"""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from nextword.nn.kernels import adamw8bit as kernel
from nextword.nn.kernels import disk, threads
from nextword.train.optimizers.adamw import FUSED, AdamW, fused, plain
from nextword.train.quantised import Quantised
from nextword.train.roles import Role
from nextword.train.settings import TrainSettings

HONOURS = frozenset({"betas", "eps", "weight_decay"})
WHOLE = True  # a process's rows would be other blocks
SMALL = 4096


class AdamW8bit:
    """By name `mean` and `square` in 8 bits; `rest`: AdamW of what stays in fp32; `time` is t."""

    def __init__(self, parameters: Mapping[str, Tensor], settings: TrainSettings, roles: Mapping[str, Role]) -> None:
        self.settings, self.roles = settings, roles
        large = {name for name, tensor in parameters.items() if tensor.numel() >= SMALL and roles[name] != "table"}
        self.parameters = {name: parameters[name] for name in parameters if name in large}
        rest = {name: tensor for name, tensor in parameters.items() if name not in large}
        self.rest = AdamW(rest, settings, roles) if rest else None
        device = next(iter(parameters.values())).device
        self.compiled = device.type == "cpu" and disk.remember(kernel.update) is not None
        self.time = torch.zeros((), device=device)
        self.mean = {name: Quantised(tensor.numel(), True, device) for name, tensor in self.parameters.items()}
        self.square = {name: Quantised(tensor.numel(), False, device) for name, tensor in self.parameters.items()}

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """One update of every tensor that has a gradient."""
        if self.rest is not None:
            self.rest.step(rate)
        self.time += 1
        for name, tensor in self.parameters.items():
            if tensor.grad is not None:
                decay = 0.0 if self.roles[name] == "vector" else self.settings.weight_decay
                change = compiled if self.compiled else plain_blocks
                change(tensor, self.mean[name], self.square[name], self.time, rate, decay, self.settings)

    def state(self) -> dict[str, Tensor]:
        """Codes and scales of what is in 8 bits, AdamW's state of the rest, and t."""
        found = {"large_time": self.time} | ({} if self.rest is None else self.rest.state())
        for kind, table in (("mean", self.mean), ("square", self.square)):
            for name, quantised in table.items():
                found |= {f"{kind}_codes.{name}": quantised.codes, f"{kind}_scales.{name}": quantised.scales}
        return found


def plain_blocks(
    tensor: Tensor, mean: Quantised, square: Quantised, time: Tensor, rate: float, decay: float, settings: TrainSettings
) -> None:
    """Reads both means, makes AdamW's update, writes the means."""
    blocks = [quantised.read() for quantised in (mean, square)]
    whole = [[numbers.view(-1)[: tensor.numel()].view_as(tensor)] for numbers in blocks]
    update = fused if tensor.device.type in FUSED else plain
    update([tensor], [tensor.grad], *whole, time, rate, decay, settings)
    for quantised, numbers in zip((mean, square), blocks, strict=True):
        quantised.write(numbers)


def compiled(
    tensor: Tensor, mean: Quantised, square: Quantised, time: Tensor, rate: float, decay: float, settings: TrainSettings
) -> None:
    """The same, block by block."""
    threads.follow_torch()
    (b1, b2), t, both = settings.betas, time.item(), (mean, square)
    numbers = (b1, b2, rate / (1 - b1**t), (1 - b2**t) ** -0.5, settings.eps, 1 - rate * decay)
    kernel.update(
        tensor.detach().view(-1).numpy(),
        tensor.grad.reshape(-1).numpy(),
        tuple(quantised.codes.numpy() for quantised in both),
        tuple(quantised.scales.numpy() for quantised in both),
        tuple(quantised.values.numpy() for quantised in both),
        tuple(quantised.middles.numpy() for quantised in both),
        tuple(quantised.cells for quantised in both),
        tuple(np.float32(number) for number in numbers),
    )


optimizer = AdamW8bit
