"""Half a cosine from 1 down to the floor (Loshchilov and Hutter 2017, SGDR).

f(t) = floor + (1 - floor) * (1 + cos(pi p)) / 2, with p from 0 after the warm-up to 1 at the last step.
"""

import math

from nextword.train.schedule import Plan


def schedule(step: int, plan: Plan) -> float:
    """The factor at `step`."""
    return plan.floor + (1 - plan.floor) * (1 + math.cos(math.pi * plan.progress(step))) / 2
