"""Queries, keys and values that a file keeps in one matrix, group by group.

A group is one key-value head with the H/K query heads that share it. Its rows stand together: those of its queries,
then of its key, then of its value. K = H is GPT-NeoX's and BLOOM's layout (q k v of each head), K = 1 that of Falcon-7B
(all queries, the key, the value), and what lies between that of Falcon-40B.
"""

from collections.abc import Iterable
from functools import partial

import torch
from torch import Tensor

from nextword.core.errors import CheckpointError
from nextword.models.weights import Rule, Tensors, Transform

PARTS = ("query", "key", "value")


def grouped(heads: int, kv_heads: int) -> Transform:
    """One matrix, or one bias, in groups <-> queries, keys and values each in the order of the heads."""
    per_group = heads // kv_heads
    return Transform(partial(_split, kv_heads=kv_heads, per_group=per_group), partial(_join, kv_heads=kv_heads))


def grouped_rules(theirs: str, ours: str, transform: Transform, kinds: Iterable[str]) -> list[Rule]:
    """The rules for a fused layer `theirs` of the attention `ours`; kinds: "weight", and "bias" where it has one."""
    return [Rule((f"{theirs}.{kind}",), tuple(f"{ours}.{part}.{kind}" for part in PARTS), transform) for kind in kinds]


def _split(tensors: Tensors, kv_heads: int, per_group: int) -> Tensors:
    (fused,) = tensors
    heads = kv_heads * (per_group + 2)
    if len(fused) % heads:
        raise CheckpointError(
            f"queries, keys and values have {len(fused)} rows together, which are not {heads} heads as config.json "
            "says: correct it, or get the right file"
        )
    groups = fused.unflatten(0, (kv_heads, per_group + 2, -1))
    return tuple(_rows(part) for part in groups.split((per_group, 1, 1), 1))


def _join(tensors: Tensors, kv_heads: int) -> Tensors:
    query, key, value = tensors
    head_width = len(key) // kv_heads
    return (_rows(torch.cat([x.unflatten(0, (kv_heads, -1, head_width)) for x in (query, key, value)], 1)),)


def _rows(groups: Tensor) -> Tensor:
    """(groups, heads, E, ...) -> (rows, ...)."""
    return groups.flatten(0, 2)
