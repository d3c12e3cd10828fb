"""Successive halving: all trials begin, and the better part goes on.

    n trials train for R / eta^(K-1) steps, the best n / eta of them for R / eta^(K-2), ... the last for R

Rung k ends n / eta^k trials at step R / eta^(K-1-k), the same product on every rung: K rungs cost at most K · n /
eta^(K-1) whole runs instead of n. What may go wrong is a trial that begins badly and would have ended well; a larger
first rung (fewer rungs) is the remedy.

Jamieson & Talwalkar, "Non-stochastic Best Arm Identification and Hyperparameter Optimization" (2016). Hyperband (Li et
al. 2018) runs this several times with first rungs of different lengths, because nobody knows how soon losses can be
told apart; here that choice is the user's. Both start a trial anew on each rung or go on with it; here it goes on, with
the schedule of the whole run, so that the winner is bit for bit the model that an ordinary run of its settings gives.
"""

from collections.abc import Sequence


def sizes(trials: int, eta: int, rungs: int | None = None) -> list[int]:
    """How many trials train on each rung: an eta-th goes on, rounded down, one at least; `rungs` cuts it short before.

    The first `rungs` of the halvings are kept, so the last rung may have several trials.

    >>> sizes(9, 3), sizes(8, 3), sizes(9, 3, rungs=2), sizes(1, 3)
    ([9, 3, 1], [8, 2, 1], [9, 3], [1])
    """
    found = [trials]
    while found[-1] > 1:
        found.append(max(1, found[-1] // eta))
    return found[:rungs]


def steps_at(steps: int, eta: int, rungs: int, rung: int) -> int:
    """The step at which rung `rung` (from 0) ends: an eta-th of the next one's, rounded up; the last at `steps`.

    >>> [steps_at(100, 3, 3, rung) for rung in range(3)]
    [12, 34, 100]
    """
    share: int = eta ** (rungs - 1 - rung)
    return -(-steps // share)


def survivors(losses: Sequence[float | None], count: int) -> list[int]:
    """The places of the `count` lowest losses, lowest first; of equal ones the earlier. None has diverged: never.

    >>> survivors([2.0, None, 1.0, 2.0], 3), survivors([None, 3.0], 2)
    ([2, 0, 3], [1])
    """
    finite = [(loss, place) for place, loss in enumerate(losses) if loss is not None]
    return [place for _, place in sorted(finite)[:count]]


def wider(tried: Sequence[float], best: float) -> list[float] | None:
    """The values to try next where the best one is the lowest or highest of them: two more at the same ratio.

    None where it lies within, or only one was tried.

    >>> wider([1e-3, 3e-3, 9e-3], 9e-3), wider([1e-3, 3e-3, 9e-3], 3e-3)
    ([0.003, 0.009, 0.027, 0.081], None)
    """
    values = sorted(set(tried))
    if len(values) < 2 or values[0] < best < values[-1]:
        return None
    if best == values[-1]:
        ratio = values[-1] / values[-2]
        return [*values[-2:], rounded(best * ratio), rounded(best * ratio**2)]
    ratio = values[0] / values[1]
    return [rounded(best * ratio**2), rounded(best * ratio), *values[:2]]


def rounded(value: float) -> float:
    """To two significant digits, as people write learning rates."""
    return float(f"{value:.2g}")
