"""The processors in their order: each turns the logits of a batch into logits, row by row as its settings say.

A processor is a file in `nextword/decode/processors` with `PLACE` (its place in the order), `active(row)` (whether it
changes anything for a row's settings) and `process(logits_BV, rows) -> logits_BV`.
"""

from collections.abc import Sequence
from functools import cache
from typing import Protocol, cast

from torch import Tensor

from nextword.core.registry import names, part
from nextword.decode.settings import SamplingSettings

PROCESSORS = "nextword.decode.processors"


class Active(Protocol):
    """Whether a processor changes anything for a row with these settings."""

    def __call__(self, row: SamplingSettings) -> bool: ...  # noqa: D102


class Process(Protocol):
    """Turns logits (B, V) into logits, one settings object a row."""

    def __call__(self, logits_BV: Tensor, rows: Sequence[SamplingSettings]) -> Tensor: ...  # noqa: D102


@cache
def processors() -> tuple[tuple[Active, Process], ...]:
    """All processors in their order."""
    found = sorted(names(PROCESSORS), key=lambda name: cast(int, part(PROCESSORS, name, "PLACE")))
    return tuple(
        (cast(Active, part(PROCESSORS, name, "active")), cast(Process, part(PROCESSORS, name, "process")))
        for name in found
    )


def process(logits_BV: Tensor, rows: Sequence[SamplingSettings]) -> Tensor:
    """Applies every processor that is active for some row."""
    for active, apply in processors():
        if any(active(row) for row in rows):
            logits_BV = apply(logits_BV, rows)
    return logits_BV
