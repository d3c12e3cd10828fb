"""A training run: everything that changes from step to step, and what it is saved from and restored into.

To go on bit for bit, a run needs its weights (fp32 masters where the model computes with fewer bits), the optimizer's
running means, the place in the data, the random number generators, and the counts below. All of it is either a tensor
(`tensors`) or a small JSON tree (`to_json`).
"""

import threading
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from nextword.core.distributed import ALONE, World
from nextword.data.feed import Feed
from nextword.data.stream import Place, TokenRow
from nextword.objectives.base import Objective
from nextword.train.average import Average, share_of
from nextword.train.optimizer import Optimizer
from nextword.train.parallel.parts import OWN, Parts
from nextword.train.precision import Weights
from nextword.train.settings import TrainSettings


@dataclass
class Progress:
    """The counts of a run: they are what `state.json` holds.

    best_loss, best_step: the lowest validation loss so far; metrics, best_metrics: the objective's, of the last look
    and of that step; waited: looks since then; seconds: of training, over all sittings; first_loss: that of the first
    step; high_steps: how many steps in a row it has been far above it (`train/divergence.py`); ended: why the run
    stopped (finished, patience; time and stop, which more of either takes back), None while it goes on.
    """

    step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    best_loss: float | None = None
    best_step: int = 0
    waited: int = 0
    validation_loss: float | None = None
    loss: float | None = None
    first_loss: float | None = None
    high_steps: int = 0
    metrics: dict[str, float] = field(default_factory=dict)
    best_metrics: dict[str, float] = field(default_factory=dict)
    scale: float = 1.0
    good_steps: int = 0
    place: dict[str, int] = field(default_factory=dict)
    log_bytes: int = 0
    ended: str | None = None


class Run:
    """A model on its way: its weights, optimizer, data and counts; `world`: the processes that train it together."""

    def __init__(
        self,
        model: nn.Module,
        weights: Weights,
        optimizer: Optimizer,
        objective: Objective,
        tokens: TokenRow,
        settings: TrainSettings,
        world: World = ALONE,
    ) -> None:
        self.model, self.weights, self.optimizer, self.objective = model, weights, optimizer, objective
        self.tokens, self.settings, self.world = tokens, settings, world
        share = share_of(settings)
        self.average = None if share is None else Average(weights, share)
        self.device = next(model.parameters()).device
        self.at = Progress(place=Place(settings.seed).to_json())
        self.interrupted = False
        self.improved = False  # the last step's look at the validation loss was the best so far
        self.copied = threading.Event()  # set when no copy of the weights and the optimizer's memory is being made
        self.copied.set()

    def settle(self) -> None:
        """Waits until weights and optimizer may be changed: until the copy for a checkpoint, if any, is made."""
        self.copied.wait()

    @property
    def last(self) -> bool:
        """Whether the step just made is the last of this sitting."""
        return self.interrupted or self.at.ended is not None

    @property
    def modules(self) -> list[nn.Module]:
        """The model, and what is trained beside it."""
        return [self.model] if self.objective.extra is None else [self.model, self.objective.extra]

    def training(self, mode: bool) -> None:
        """Puts everything into training mode (dropout), or out of it."""
        for module in self.modules:
            module.train(mode)

    def feed(self) -> Feed:
        """The batches from where the run stands."""
        return Feed(self.tokens, self.objective.form, self.settings.length, Place(**self.at.place))

    def beside(self) -> dict[str, Tensor]:
        """What is trained beside the model and is no part of it (tensors that both share are the model's)."""
        if self.objective.extra is None:
            return {}
        mine = {tensor.data_ptr() for tensor in self.model.state_dict().values()}
        tensors = self.objective.extra.state_dict().items()
        return {f"beside.{name}": tensor for name, tensor in tensors if tensor.data_ptr() not in mine}

    def tensors(self) -> dict[str, Tensor]:
        """Everything but the model's own weights that has to be saved, as tensors."""
        found = {"random.cpu": torch.get_rng_state()}
        if self.device.type == "cuda":
            found["random.cuda"] = torch.cuda.get_rng_state(self.device)
        if self.weights.low:
            found |= {f"master.{name}": master.detach() for name, master in self.weights.masters.items()}
        found |= self.beside()
        if self.average is not None:
            found |= {f"average.{name}": tensor for name, tensor in self.average.tensors.items()}
        return found | {f"optimizer.{name}": tensor for name, tensor in self.optimizer.state().items()}

    def written(self) -> dict[str, Tensor]:
        """The part of `tensors` that this process saves; the parts of all processes are the whole."""
        parts = {
            name: tensor if name.startswith(OWN) else self.weights.written(tensor)
            for name, tensor in self.tensors().items()
        }
        return {name: part for name, part in parts.items() if part is not None}

    def averaged(self) -> AbstractContextManager[None]:
        """While the block lasts, the model's weights are those to look at: their running mean where there is one."""
        return nullcontext() if self.average is None else self.average.standing_in()

    def to_json(self) -> dict[str, Any]:
        """The counts, with the loss scale of fp16."""
        self.at.scale, self.at.good_steps = self.weights.scale, self.weights.good_steps
        return asdict(self.at)

    def restore(self, model: nn.Module, state: Path, counts: Mapping[str, Any]) -> None:
        """Puts a saved run's weights, tensors (a safetensors file, or its parts) and counts in place of this one's.

        Values are copied into memory of our own: the speed and the rounding of matrix products can depend on how a
        tensor lies in memory, and it must lie as in an uninterrupted run.
        """
        self.weights.load(model.state_dict())
        self.at = Progress(**counts)
        with Parts(state) as parts:
            mine = self.tensors()
            for name in parts.names:
                tensor, rows = mine[name], None if name.startswith(OWN) else parts.rows(name)
                if name.startswith(OWN):
                    self.restore_random(name, parts.own(name, self.world.rank, self.world.size))
                elif rows is None:
                    tensor.copy_(parts.number(name))
                else:
                    tensor.copy_(parts.read(name, self.weights.held(rows)))
        self.weights.scale, self.weights.good_steps = self.at.scale, self.at.good_steps

    def restore_random(self, name: str, state: Tensor | None) -> None:
        """Sets a generator as it was; where another number of processes saved, each draws anew from step and rank."""
        if state is None:
            numbers = (self.settings.seed, self.at.step, self.world.rank)
            torch.manual_seed(int(np.random.SeedSequence(numbers).generate_state(1)[0]))
        elif name == "random.cpu":
            torch.set_rng_state(state.clone())
        else:
            torch.cuda.set_rng_state(state.clone(), self.device)
