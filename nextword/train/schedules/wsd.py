"""Warm-up, stable, decay (Hu et al. 2024, MiniCPM): constant, then a straight line down to the floor at the end.

The stable part does not depend on how long the run will be, so that one can train on from any checkpoint of it.
f(t) = 1 until the last `decay` share of all steps, then linear to the floor.
"""

from nextword.train.schedule import Plan


def schedule(step: int, plan: Plan) -> float:
    """The factor at `step`."""
    falling = round(plan.decay * plan.steps)
    left = plan.steps - 1 - step
    return 1.0 if left >= falling else plan.floor + (1 - plan.floor) * left / falling
