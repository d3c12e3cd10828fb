"""The processors in their order: each turns the logits of a batch into logits, row by row as its settings say.

A processor is a file in `nextword/decode/processors` with `PLACE` (its place in the order), `active(settings)` (whether
it changes anything for a row) and `process(logits_BV, rows) -> logits_BV`, which gets only rows for which it is active
and leaves its argument as it was. What is off for every row costs nothing.

The order is that of transformers: what looks at the model's own scores comes first (biases, penalties), then what
forbids tokens (bans, grammars), what forces one, and last what reshapes and cuts the distribution that is left
(temperature, top-k, top-p, ...).
"""

from collections.abc import Sequence
from functools import cache
from typing import Protocol, cast

import torch
from torch import Tensor

from nextword.core.errors import SettingsError
from nextword.core.registry import names, part
from nextword.decode.settings import SamplingSettings

PROCESSORS = "nextword.decode.processors"


class Staged(Protocol):
    """A text (`decode/history.py`): its settings, and the places in `order` of the processors that they make active."""

    settings: SamplingSettings
    stages: tuple[int, ...]


class Active(Protocol):
    """Whether a processor changes anything for a row with these settings."""

    def __call__(self, row: SamplingSettings) -> bool: ...  # noqa: D102


class Process(Protocol):
    """Turns logits (B, V) into logits, one row object a row."""

    def __call__(self, logits_BV: Tensor, rows: Sequence[Staged]) -> Tensor: ...  # noqa: D102


@cache
def order() -> tuple[str, ...]:
    """The names of all processors in their order."""
    return tuple(sorted(names(PROCESSORS), key=lambda name: cast(int, part(PROCESSORS, name, "PLACE"))))


@cache
def processes() -> tuple[Process, ...]:
    """What the processors do, in their order."""
    return tuple(cast(Process, part(PROCESSORS, name, "process")) for name in order())


def stages(settings: SamplingSettings) -> tuple[int, ...]:
    """Which processors, by their places in `order`, change anything under these settings."""
    return tuple(i for i, name in enumerate(order()) if cast(Active, part(PROCESSORS, name, "active"))(settings))


def process(logits_BV: Tensor, rows: Sequence[Staged]) -> Tensor:
    """Applies to each row the processors that are active for it.

    SettingsError when they leave a row no token to choose.
    """
    needed = sorted({stage for row in rows for stage in row.stages})
    for stage in needed:
        picked = [place for place, row in enumerate(rows) if stage in row.stages]
        apply = processes()[stage]
        if len(picked) == len(rows):
            logits_BV = apply(logits_BV, rows)
        else:
            index_N = torch.tensor(picked, device=logits_BV.device)
            changed_NV = apply(logits_BV[index_N], [rows[place] for place in picked])
            logits_BV = logits_BV.index_copy(0, index_N, changed_NV)
    if needed:
        check_choice(logits_BV, rows)
    return logits_BV


def check_choice(logits_BV: Tensor, rows: Sequence[Staged]) -> None:
    """SettingsError for a row all of whose tokens are forbidden."""
    for place, best in enumerate(logits_BV.amax(-1).tolist()):
        if best == float("-inf"):
            active = ", ".join(order()[stage] for stage in rows[place].stages)
            raise SettingsError(f"together the settings forbid every token here ({active}): relax one of them")
