"""What turns gradients into updates: one file each in `train/optimizers/`, found by name.

Beside `optimizer` each file says which settings it `HONOURS`, and whether it needs matrices `WHOLE` or could work on
some rows of each.

PyTorch's own optimizer classes are not used: making one imports its compiler, three seconds at every start.
"""

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Protocol, cast

from torch import Tensor

from nextword.core.errors import SettingsError
from nextword.core.registry import names, part
from nextword.train.roles import Role
from nextword.train.settings import TrainSettings

PACKAGE = "nextword.train.optimizers"
OPTIONS = ("betas", "eps", "weight_decay", "cautious_decay", "sparse_tables", "table_rate", "muon_rate",
           "muon_momentum", "muon_scale", "muon_steps", "muon_every", "muon_normalised")  # fmt: skip


class Optimizer(Protocol):
    """Owns named fp32 tensors and changes them by their gradients; what it remembers is named tensors too."""

    def step(self, rate: float) -> None:
        """One update with learning rate `rate`; a tensor without a gradient stays."""
        ...

    def state(self) -> dict[str, Tensor]:
        """What it remembers: the tensors themselves, not copies, the same names from the first step on."""
        ...


# Masters by name, settings, and what each of them does in the model; those that `train/rates.py` names take in addition
# what the learning rate of each is multiplied by, where a run sets `train.mup_width`.
Make = (
    Callable[[Mapping[str, Tensor], TrainSettings, Mapping[str, Role]], Optimizer]
    | Callable[[Mapping[str, Tensor], TrainSettings, Mapping[str, Role], Mapping[str, float]], Optimizer]
)


def find(name: str) -> Make:
    """What makes the optimizer called `name`; SettingsError, naming the nearest, when there is none."""
    return cast(Make, part(PACKAGE, name, "optimizer"))


def honours(name: str) -> frozenset[str]:
    """Those of OPTIONS that the optimizer called `name` goes by."""
    return cast(frozenset[str], part(PACKAGE, name, "HONOURS"))


def check(settings: TrainSettings, roles: Mapping[str, Role], shared_out: bool) -> None:
    """Refuses settings that the optimizer does not go by or cannot follow here.

    roles: of the model's weights. shared_out: each process has only some rows of each weight.
    """
    find(settings.optimizer)
    defaults = {field.name: field.default for field in fields(TrainSettings)}
    for option in OPTIONS:
        if getattr(settings, option) != defaults[option] and option not in honours(settings.optimizer):
            others = " or ".join(name for name in names(PACKAGE) if option in honours(name))
            raise SettingsError(
                f"train.{option} has no effect with train.optimizer={settings.optimizer}: leave it out, or choose "
                f"{others}"
            )
    if shared_out and part(PACKAGE, settings.optimizer, "WHOLE"):
        raise SettingsError(
            f"train.optimizer={settings.optimizer} needs whole matrices, of which fsdp gives each process some rows: "
            "choose --train.parallel=ddp, or adamw or lion"
        )
    if settings.optimizer == "muon" and "hidden" not in roles.values():
        raise SettingsError("train.optimizer=muon is for hidden matrices, and this model has none: choose adamw")
    tables = [name for name, role in roles.items() if role == "table"]
    if settings.sparse_tables and len(tables) <= 1 and "output" not in roles.values():
        raise SettingsError(
            "train.sparse_tables has no effect: this model's only table, the embedding, is its output matrix too, so "
            "every step changes all its rows; leave it out, or make the model with --model.tied=false"
        )
