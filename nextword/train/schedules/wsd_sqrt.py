"""Warm-up, stable, decay with a fall that is steep at first: 1 - sqrt (Hägele et al. 2024, "Scaling Laws and
Compute-Optimal Training Beyond Fixed Training Durations"), which ended lower than the straight line in their runs.

f(t) = 1 until the last `decay` share of all steps, then floor + (1 - floor) (1 - sqrt(q)), q from 0 to 1 at the last.
"""

import math

from nextword.train.schedule import Plan


def schedule(step: int, plan: Plan) -> float:
    """The factor at `step`."""
    falling = round(plan.decay * plan.steps)
    left = plan.steps - 1 - step
    return 1.0 if left >= falling else plan.floor + (1 - plan.floor) * (1 - math.sqrt(1 - left / falling))
