"""The learning rate of each step: a linear warm-up, then the schedule that the settings name.

While the running means of the optimizer are still poor, large steps do harm, so the rate rises linearly from 0 over the
first `warmup` steps. What follows is one file each in `train/schedules/`; every one is a factor between 0 and 1.

Steps count from 0: the first update is made with rate `learning_rate * 1 / warmup`, not 0.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from nextword.core.registry import part


@dataclass(frozen=True)
class Plan:
    """What a schedule goes by: all steps, those of the warm-up, the share that decays (WSD), and the last factor."""

    steps: int
    warmup: int = 0
    decay: float = 0.2
    floor: float = 0.0

    def progress(self, step: int) -> float:
        """How far `step` is from the end of the warm-up (0) to the last step (1)."""
        return (step - self.warmup) / max(self.steps - 1 - self.warmup, 1)


Schedule = Callable[[int, Plan], float]


def find(name: str) -> Schedule:
    """The schedule called `name`; SettingsError, naming the nearest, when there is none."""
    return cast(Schedule, part("nextword.train.schedules", name, "schedule"))


def factor(schedule: Schedule, step: int, plan: Plan) -> float:
    """What the highest learning rate is multiplied by at `step` (from 0)."""
    if step < plan.warmup:
        return (step + 1) / plan.warmup
    return schedule(step, plan)
