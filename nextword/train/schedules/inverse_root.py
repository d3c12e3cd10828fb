"""Falls as one over the root of the step (Vaswani et al. 2017): f(t) = sqrt(warmup / t), t counted from 1.

It needs to know no end; the warm-up sets its scale (without one it falls from the first step on).
"""

import math

from nextword.train.schedule import Plan


def schedule(step: int, plan: Plan) -> float:
    """The factor at `step`."""
    return math.sqrt(max(plan.warmup, 1) / (step + 1))
