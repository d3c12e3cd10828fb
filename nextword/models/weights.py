"""Weights by name: how the tensors of a foreign file become ours, and back.

A family lists rules, one for every tensor of the file, by whole names: no pattern decides anything. A rule may take
several tensors and give several, through a transform that can be undone (a fused matrix split into three, a transposed
one, rotary pairs that stand side by side put half a head apart); so whatever can be read can be written, byte by byte.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from nextword.core.errors import CheckpointError, nearest

Tensors = tuple[Tensor, ...]
NAMED = 3  # so many names of a longer list are printed


def unchanged(tensors: Tensors) -> Tensors:
    """The transform of tensors whose layout is the same on both sides."""
    return tensors


@dataclass(frozen=True)
class Transform:
    """A change of layout and its undoing: `write(read(x)) == x` and `read(write(y)) == y`, exactly."""

    read: Callable[[Tensors], Tensors] = unchanged
    write: Callable[[Tensors], Tensors] = unchanged


SAME = Transform()


@dataclass(frozen=True)
class Rule:
    """`theirs` (names in the file) and `ours` (names in the model) hold the same numbers, up to `transform`."""

    theirs: tuple[str, ...]
    ours: tuple[str, ...]
    transform: Transform = SAME


def same(theirs: str, ours: str) -> Rule:
    """The rule for one tensor that only changes its name."""
    return Rule((theirs,), (ours,))


def stacked(*rows: int) -> Transform:
    """One tensor that holds several, of so many rows each, one below the other."""

    def split(tensors: Tensors) -> Tensors:
        if tensors[0].shape[0] != sum(rows):
            raise CheckpointError(f"a tensor of {tensors[0].shape[0]} rows cannot hold parts of {rows}")
        return tensors[0].split(rows)

    return Transform(split, lambda tensors: (torch.cat(tensors),))


def pair(theirs: str, ours: str) -> list[Rule]:
    """The rules for the weight and the bias of a linear layer or a norm."""
    return [same(f"{theirs}.{kind}", f"{ours}.{kind}") for kind in ("weight", "bias")]


def to_ours(rules: Iterable[Rule], theirs: dict[str, Tensor], where: str) -> Iterator[tuple[str, Tensor]]:
    """Our tensors from a file's, rule by rule; CheckpointError naming what is missing or left over in `where`.

    They are taken out of `theirs`: who keeps only what they become never holds the whole of both.
    """
    rules = list(rules)
    wanted = [name for rule in rules for name in rule.theirs]
    missing = [name for name in wanted if name not in theirs]
    extra = sorted(set(theirs) - set(wanted))
    if missing:
        hint = nearest(missing[0], extra) if extra else ""
        raise CheckpointError(
            f"{where} lacks {_listed(missing)}, which its config.json promises{hint}: get the file again, "
            "or correct config.json"
        )
    if extra:
        raise CheckpointError(
            f"{where} holds {_listed(extra)}, for which the model that its config.json describes has no place: "
            "correct config.json, or remove them"
        )
    for rule in rules:
        given = tuple(theirs.pop(name) for name in rule.theirs)
        try:
            found = rule.transform.read(given)
        except (IndexError, RuntimeError) as error:  # shapes that cannot be taken apart so
            shapes = ", ".join(f"{name!r} {tuple(x.shape)}" for name, x in zip(rule.theirs, given, strict=True))
            raise CheckpointError(f"{where}: {shapes} do not fit its config.json: {error}") from error
        yield from zip(rule.ours, found, strict=True)


def to_theirs(rules: Iterable[Rule], ours: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A file's tensors from ours; every one of ours must be named by a rule."""
    rules = list(rules)
    forgotten = set(ours) - {name for rule in rules for name in rule.ours}
    if forgotten:
        raise CheckpointError(f"no rule says how {_listed(sorted(forgotten))} are written")
    return {
        name: tensor
        for rule in rules
        for name, tensor in zip(rule.theirs, rule.transform.write(tuple(ours[n] for n in rule.ours)), strict=True)
    }


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(map(repr, names[:NAMED])) + more
