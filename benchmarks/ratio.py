"""Speed as a ratio against a named peer: both run alternately in one process, medians are compared.

Absolute times on a shared machine mean little; a ratio from the same minutes means something. Each file beside this
one is one benchmark with a function `measure() -> list[Ratio]`; `python -m benchmarks [NAME ...]` runs them and prints
a table.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Ratio:
    """One comparison. `ours` and `peer` are in `unit`; `ratio` says how many times better ours is; `wanted` the aim."""

    name: str
    ours: float
    peer: float
    unit: str
    peer_name: str
    wanted: float
    more_is_better: bool = True
    note: str = ""

    @property
    def ratio(self) -> float:
        """How many times better ours is than the peer's."""
        return self.ours / self.peer if self.more_is_better else self.peer / self.ours


def seconds(work: Callable[[], object]) -> float:
    """Wall-clock seconds that one call takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def alternate(ours: Callable[[], object], peer: Callable[[], object], rounds: int = 5) -> tuple[float, float]:
    """Median seconds of each of two functions, run alternately `rounds` times after one warm-up call of each."""
    ours()
    peer()
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        times[0].append(seconds(ours))
        times[1].append(seconds(peer))
    return statistics.median(times[0]), statistics.median(times[1])
