"""A straight line from 1 down to the floor: f(t) = 1 - (1 - floor) p, with p from 0 to 1 after the warm-up."""

from nextword.train.schedule import Plan


def schedule(step: int, plan: Plan) -> float:
    """The factor at `step`."""
    return 1 - (1 - plan.floor) * plan.progress(step)
