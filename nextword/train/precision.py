"""Which numbers the model computes with, and the fp32 masters that the optimizer changes.

bf16 has 8 bits of mantissa: an update smaller than 1/256 of a weight would be rounded away. So the optimizer keeps fp32
masters, and after each step the model's 16-bit weights are rounded from them once (Micikevicius et al. 2018, "Mixed
precision training"). Nothing is recast inside a step, which is what makes autocast slow on a CPU. fp16 has a small
range besides: the loss is multiplied by a scale that keeps gradients from vanishing; it halves when they overflow and
doubles after `GROWTH_STEPS` good steps. In fp32 the weights are their own masters.
"""

import copy
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn

from nextword.core.device import DTYPES, product_rate
from nextword.core.errors import SettingsError

FASTER = 1.5  # bf16 products must be this many times faster than fp32 ones to be worth the other costs of bf16
FIRST_SCALE = 2.0**16
GROWTH_STEPS = 1000
T = TypeVar("T")


@dataclass(frozen=True)
class Choice:
    """A precision and how it was found, saved with the run so that it stays when the run is resumed."""

    precision: str
    why: str


def choose(wanted: str, device: torch.device) -> Choice:
    """The precision to train with; for `auto`, fp32 or bf16 by the measured speed of their matrix products."""
    if wanted == "fp16" and device.type == "cpu":
        raise SettingsError("train.precision=fp16 needs a GPU: on the CPU choose fp32, bf16 or auto")
    if wanted != "auto":
        return Choice(wanted, "as set")
    fp32, bf16 = (product_rate(name, device) for name in ("fp32", "bf16"))
    why = f"matrix products: fp32 {fp32 / 1e9:.3g}, bf16 {bf16 / 1e9:.3g} GFLOP/s"
    return Choice("bf16" if bf16 > FASTER * fp32 else "fp32", why)


class Weights:
    """A model's trainable weights with their masters; `together`: the model with what is trained beside it.

    `masters`: fp32 tensors by name, which the optimizer owns; in fp32 they are the model's own parameters. Subclasses
    in `train/parallel/` share the work among processes; whoever trains sees no difference.
    """

    def __init__(self, model: nn.Module, precision: str, together: nn.Module | None = None) -> None:
        self.model, self.together = model, model if together is None else together
        self.low = precision != "fp32"
        self.scale = FIRST_SCALE if precision == "fp16" else 1.0
        self.scaling = precision == "fp16"
        self.good_steps = 0
        self.parameters: dict[str, Tensor] = {}
        self.masters: dict[str, Tensor] = {}
        self.adopt(DTYPES[precision])

    def adopt(self, dtype: torch.dtype) -> None:
        """Takes the model's weights over: masters of them, and the model's own in `dtype`."""
        self.parameters = {name: tensor for name, tensor in self.together.named_parameters() if tensor.requires_grad}
        if self.low:
            self.masters = {
                name: tensor.detach().to(torch.float32, copy=True) for name, tensor in self.parameters.items()
            }
        for tensor in self.together.parameters():
            tensor.data = tensor.data.to(dtype, copy=True)  # into memory of our own, aligned as ever
        if not self.low:
            self.masters = dict(self.parameters)

    def call(self, work: Callable[[nn.Module], T]) -> T:
        """What `work` makes of the model; whatever reads the weights goes through here."""
        return work(self.model)

    def backward(self, loss: Tensor, last: bool = True) -> None:
        """Adds the gradient of `loss` (times the scale) to the masters' gradients. last: the batch ends with it."""
        (loss * self.scale if self.scaling else loss).backward()
        if not self.low:
            return
        for name, tensor in self.parameters.items():
            if tensor.grad is None:
                continue
            master = self.masters[name]
            grad = tensor.grad.to(torch.float32)
            master.grad = grad if master.grad is None else master.grad.add_(grad)
            tensor.grad = None

    def gradients(self) -> list[Tensor]:
        """The masters' gradients, the scale taken out; of a table with a sparse one, the rows that were looked up."""
        found = []
        for tensor in self.masters.values():
            if tensor.grad is not None and tensor.grad.is_sparse:
                tensor.grad = tensor.grad.coalesce()  # a row that was looked up twice is there once, with its sum
                found.append(tensor.grad.values())
            elif tensor.grad is not None:
                found.append(tensor.grad)
        if self.scaling:
            torch._foreach_mul_(found, 1 / self.scale)
        return found

    def norm(self, gradients: list[Tensor]) -> Tensor:
        """The norm of all gradients together."""
        return torch.nn.utils.get_total_norm(gradients)

    def adjust_scale(self, norm: float) -> None:
        """fp16: halves the scale when the gradient's norm is not finite (out of range); doubles it in good times."""
        if not self.scaling:
            return
        if not math.isfinite(norm):
            self.scale, self.good_steps = max(self.scale / 2, 1.0), 0
            return
        self.good_steps += 1
        if self.good_steps == GROWTH_STEPS:
            self.scale, self.good_steps = self.scale * 2, 0

    @torch.no_grad()
    def publish(self) -> None:
        """Rounds the masters into the model's weights; forgets the gradients."""
        if self.low:
            torch._foreach_copy_(list(self.parameters.values()), list(self.masters.values()))
        for tensor in self.masters.values():
            tensor.grad = None

    def plain(self) -> nn.Module:
        """A copy of the model on the CPU, to save from; its values may be old."""
        return copy.deepcopy(self.model).to("cpu")

    def whole(self) -> Iterable[tuple[str, Tensor]]:
        """Every tensor of the model by name, in the order of its `state_dict`."""
        return self.model.state_dict().items()

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Puts the values of another model of the same shapes in place of the model's."""
        self.model.load_state_dict(state)

    def written(self, tensor: Tensor) -> Tensor | None:
        """What this process writes of a tensor shaped like a master, or of a number: here all of it."""
        return tensor

    def held(self, rows: int) -> slice:
        """Which of so many rows of a master this process holds: here all of them."""
        return slice(0, rows)
