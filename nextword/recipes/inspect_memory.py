"""What using and training a model takes in memory: the part of `nextword inspect --memory`.

    using      weights + batch · (length · bytes of a token's state + what a state takes once)
    training   what `train/anticipate.py` finds by running a step without numbers

Beside it stands the textbook's figure for training, weights and gradients in bf16 and Adam's means in fp32. Decimal
gigabytes, as makers of GPUs and textbooks count.
"""

from typing import Any

from rich import box
from rich.table import Table

from nextword.core.errors import SettingsError
from nextword.models.count import FLOAT_BYTES, Count
from nextword.recipes.inspect_settings import InspectSettings
from nextword.train.anticipate import anticipate, textbook
from nextword.train.settings import TrainSettings

TRAINED_IN = ("fp32", "bf16")


def needs(config: dict[str, Any], figures: Count, settings: InspectSettings) -> dict[str, Any]:
    """Bytes by purpose and precision, as a tree for JSON; the reason where nothing is foretold of training."""
    if figures.length is None:
        raise SettingsError("this model reads texts of any length: say for which the memory is wanted, --length 1024")
    batch, length = settings.batch or 1, figures.length
    using = {
        kind: {"weights": figures.weight_bytes(kind), "state": state(figures, batch, length, kind)}
        for kind in FLOAT_BYTES
    }
    names = ("weights", "gradients", "adam_means")
    training: dict[str, Any] = {"textbook": dict(zip(names, textbook(figures.parameters), strict=True))}
    train = TrainSettings(
        batch=batch,
        length=length,
        micro_batch=settings.micro_batch,
        optimizer=settings.optimizer or "adamw",
        recompute=settings.recompute,
    )
    try:
        training |= {kind: vars(taken) | {"all": taken.all} for kind, taken in trained(config, train)}
    except SettingsError as error:
        if settings.optimizer or settings.micro_batch:
            raise
        training["not_foretold"] = str(error)
    return {"batch": batch, "length": length, "using": using, "training": training}


def state(figures: Count, batch: int, length: int, kind: str) -> int:
    """Bytes of the states of so many texts."""
    return batch * (figures.state_bytes(length, kind) + figures.fixed_state_bytes(kind))


def trained(config: dict[str, Any], train: TrainSettings) -> list[tuple[str, Any]]:
    """What training takes in each precision."""
    return [(kind, anticipate(config, train, kind)) for kind in TRAINED_IN]


def table(tree: dict[str, Any]) -> Table:
    """The tree for people."""
    title = f"memory, for {tree['batch']:,} x {tree['length']:,} tokens"
    found = Table("what", box=box.SIMPLE_HEAD, title=title, title_justify="left")
    found.add_column("at the most", justify="right")
    for kind, parts in tree["using"].items():
        add(found, f"using it in {kind}", sum(parts.values()), parts)
    training = tree["training"]
    textbook = training["textbook"]
    add(found, "training in bf16, as textbooks count", sum(textbook.values()), textbook)
    if "not_foretold" in training:
        found.caption = training["not_foretold"]
    for kind in TRAINED_IN if "not_foretold" not in training else ():
        parts = training[kind]
        inner = {"a step": parts["step"], "  activations": parts["activations"], "  gradients": parts["gradients"]}
        held = {name: parts[name] for name in ("weights", "masters", "optimizer") if parts[name]}
        besides = {"a checkpoint being written, besides": parts["copies"]}
        add(found, f"training in {kind}, as here", parts["all"], held | inner | besides)
    return found


def add(table: Table, what: str, whole: int, parts: dict[str, int]) -> None:
    """A row for the whole and one for each part."""
    table.add_row(what, decimal(whole))
    for name, size in parts.items():
        table.add_row(f"  {name.replace('_', ' ')}", decimal(size))


def decimal(size: int) -> str:
    """Bytes in powers of 1000.

    >>> decimal(84_000_000_000), decimal(12_345_678), decimal(512)
    ('84.0 GB', '12.3 MB', '0.5 kB')
    """
    for unit, factor in (("GB", 1e9), ("MB", 1e6)):
        if size >= factor:
            return f"{size / factor:,.1f} {unit}"
    return f"{size / 1e3:.1f} kB"
