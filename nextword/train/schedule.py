"""The learning rate of each step: a linear warm-up, then the schedule that the settings name.

While the running means of the optimizer are still poor, large steps do harm, so the rate rises linearly from 0 over the
first `warmup` steps. What follows is one file each in `train/schedules/`; every one is a factor between 0 and 1.

Steps count from 0: the first update is made with rate `learning_rate * 1 / warmup`, not 0.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import cast

from nextword.core.errors import SettingsError
from nextword.core.registry import part
from nextword.train.settings import TrainSettings

TRIAL_STEPS = 100  # over which it is seen what a schedule goes by


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


def plan_of(settings: TrainSettings) -> Plan:
    """The plan that the settings make."""
    return Plan(settings.steps, settings.warm_steps, settings.decay, settings.floor)


def check(settings: TrainSettings) -> None:
    """SettingsError for a decay or floor that the schedule does not go by, or a decay that begins within warm-up."""
    usual, plan = TrainSettings(), plan_of(settings)
    for name in ("decay", "floor"):
        if getattr(settings, name) != getattr(usual, name) and not goes_by(settings.schedule, name):
            raise SettingsError(f"train.{name} has no effect with --train.schedule={settings.schedule}: leave it out")
    if goes_by(settings.schedule, "decay") and plan.warmup + round(plan.decay * plan.steps) > plan.steps:
        raise SettingsError(
            f"the learning rate rises for {plan.warmup} of {plan.steps} steps (train.warmup) and falls for a share of "
            f"{plan.decay:g} (train.decay), more than there are: lower one of them"
        )


def goes_by(name: str, field: str) -> bool:
    """Whether a field of the plan, changed, changes what the schedule called `name` gives.

    >>> goes_by("cosine", "floor"), goes_by("cosine", "decay")
    (True, False)
    """
    schedule, one = find(name), Plan(TRIAL_STEPS, decay=0.5, floor=0.5)
    other = replace(one, **{field: 0.25})
    return any(schedule(step, one) != schedule(step, other) for step in range(TRIAL_STEPS))
