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
from nextword.decode.settings import CONSTRAINTS, SamplingSettings

PROCESSORS = "nextword.decode.processors"
FORBIDDING = {"banned_ids", "no_repeat_ngram"}  # that may leave nothing of what a constraint allows


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
    logits_BV = leave(logits_BV, rows)
    if any(row.stages for row in rows):
        check_choice(logits_BV, rows)
    return logits_BV


def leave(logits_BV: Tensor, rows: Sequence[Staged]) -> Tensor:
    """The same where a row may be left without a token, because others go on (beams)."""
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
    return logits_BV


def check_choice(logits_BV: Tensor, rows: Sequence[Staged]) -> None:
    """SettingsError for a row all of whose tokens are forbidden."""
    for place, best in enumerate(logits_BV.amax(-1).tolist()):
        if best == float("-inf"):
            raise no_choice(rows[place])


def no_choice(row: Staged) -> SettingsError:
    """What to say where no token may follow."""
    active = [order()[stage] for stage in row.stages]
    asked = next((name for name in CONSTRAINTS if getattr(row.settings, name) is not None), None)
    if asked and not FORBIDDING & set(active):
        return SettingsError(
            f"{asked}: the text has come to a place where the vocabulary has no token for what must follow (a "
            "character that it lacks; WordPiece has no spaces): ask for what its tokens can spell"
        )
    return SettingsError(f"together the settings forbid every token here ({', '.join(active)}): relax one of them")
