"""Saved = loaded: a model that is written and read again is the same, number by number, tied and untied.

Broken by a layout that is changed on the way out and not on the way in, by an output matrix that is tied to the
embedding in memory and stored as two (or the other way round), by numbers that are rounded to another type. It shows as
a model that is slightly, or entirely, another one the next day.
"""

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import nn

from nextword.core.errors import NextwordError
from nextword.core.files import sha256
from nextword.models.checkpoint import CONFIG, read_tensors
from nextword.models.family import Storable
from nextword.quant import files
from nextword.quant import model as quantised
from nextword.verify.equality import Equality, Measured, Pair, exact
from nextword.verify.subject import Subject, read_alone, rebuilt

TIED = "tie_word_embeddings"  # the key of config.json


def measure(subject: Subject) -> Measured:
    """The model in the type that its folder stores, and with its embedding tied the other way; written and read."""
    model, note = subject.small()
    if not note:
        model = files.load(subject.folder)
    found = [*pairs(subject, model, subject.scratch / "saved", ""), *stored(subject.folder, subject.scratch / "saved")]
    remarks = [note]
    few = quantised.of(model) is not None  # packed numbers are not tied otherwise
    for tied in (True, False) if isinstance(model, nn.Module) and not few else ():
        name = "tied" if tied else "untied"
        try:
            other = rebuilt(model, {TIED: tied})
        except NextwordError:  # a family that has no choice
            continue
        if other.state_dict().keys() != model.state_dict().keys():
            found += pairs(subject, other, subject.scratch / name, f", {name}")
            remarks.append(f"also {name}")
    return exact(found, "exact: the same bytes", "; ".join(filter(None, remarks)))


def stored(theirs: Path, ours: Path) -> Iterator[Pair]:
    """The tensors of the user's own file against those that saving has written, where both have the name."""
    written = dict(read_tensors(ours))
    for name, tensor in read_tensors(theirs):
        if name in written:
            yield f"{name} in the folder", written[name], tensor.to(written[name].dtype)


def pairs(subject: Subject, model: Storable, folder: Path, which: str) -> Iterator[Pair]:
    """A model and what is read after it was written: names, numbers, scores; then the files written a second time."""
    write(model, folder)
    again = files.load(folder)
    mine, theirs = model.state_dict(), again.state_dict()
    yield same(f"the names of tensors{which}", list(mine) == list(theirs) and trained(model) == trained(again))
    for name in mine.keys() & theirs.keys():
        yield f"{name}{which}", theirs[name], mine[name]
        yield same(f"the type of {name}{which}", theirs[name].dtype == mine[name].dtype)
    rows = subject.rows()
    for number, sides in enumerate(zip(*(read_alone(moved(side), rows) for side in (again, model)), strict=True)):
        yield f"the logits of row {number}{which}", *sides
    twice = folder.with_name(f"{folder.name} again")
    write(again, twice)
    for file in sorted({path.name for path in (*folder.iterdir(), *twice.iterdir())}):
        both = (folder / file).is_file() and (twice / file).is_file()
        yield same(f"the bytes of {file}{which}", both and sha256(folder / file) == sha256(twice / file))
    yield same(f"{TIED} in {CONFIG}{which}", model.config.get(TIED) == again.config.get(TIED))


def moved(model: Storable) -> Storable:
    """The same weights in fp32 and in memory of their own: rounding can depend on where a tensor begins."""
    copy = rebuilt(model, {})
    for tensor in copy.parameters() if isinstance(copy, nn.Module) else ():
        tensor.data = tensor.data.float().clone(memory_format=torch.contiguous_format)
    return copy


def trained(model: Storable) -> list[str]:
    """The names of what training would change: a tied matrix has one."""
    return [name for name, _ in model.named_parameters()] if isinstance(model, nn.Module) else []


def write(model: Storable, folder: Path) -> None:
    """Writes a model folder, without waiting for the disk."""
    folder.mkdir(parents=True)
    files.write(model, folder)


def same(what: str, equal: bool) -> Pair:
    """A comparison of things that are no numbers: infinitely far apart unless they are equal."""
    return what, torch.tensor(0.0 if equal else float("inf")), torch.tensor(0.0)


EQUALITY = Equality(
    title="saved = loaded",
    says="the model written and read again, tied and untied: its numbers, its logits, the bytes when written once more",
    obstacle=lambda subject: None,
    measure=measure,
)
