"""AdamW whose two means are kept in 8 bits (Dettmers et al. 2022): a quarter of the memory, nearly the same updates.

Each step reads a tensor's m and v from their codes, makes AdamW's update in fp32, and writes the nearest codes back.
What is rounded is what is remembered, never the weights. As the authors advise, tables stay in fp32 (the gradients of
rare words are unlike those of frequent ones), and so do small tensors, of fewer than 4,096 numbers.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

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
        self.update = fused if device.type in FUSED else plain
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
            if tensor.grad is None:
                continue
            both = (self.mean[name], self.square[name])
            blocks = [quantised.read() for quantised in both]
            decay = 0.0 if self.roles[name] == "vector" else self.settings.weight_decay
            whole = [[numbers.view(-1)[: tensor.numel()].view_as(tensor)] for numbers in blocks]
            self.update([tensor], [tensor.grad], *whole, self.time, rate, decay, self.settings)
            for quantised, numbers in zip(both, blocks, strict=True):
                quantised.write(numbers)

    def state(self) -> dict[str, Tensor]:
        """Codes and scales of what is in 8 bits, AdamW's state of the rest, and t."""
        found = {"large_time": self.time} | ({} if self.rest is None else self.rest.state())
        for kind, table in (("mean", self.mean), ("square", self.square)):
            for name, quantised in table.items():
                found |= {f"{kind}_codes.{name}": quantised.codes, f"{kind}_scales.{name}": quantised.scales}
        return found


optimizer = AdamW8bit
