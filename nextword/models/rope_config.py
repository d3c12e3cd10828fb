"""Rotary positions as Hugging Face configs write them, in both layouts.

Since transformers 5: `rope_parameters` = {"rope_type", "rope_theta", ...}; before: `rope_theta` beside a
`rope_scaling` = {"type" or "rope_type", ...} that may be null. Which wins where both stand is decided as transformers
decides it.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

from nextword.core.errors import CheckpointError, nearest
from nextword.nn.position.rope import DynamicNTK, Linear, Llama3, LongRope, Plain, RopeSettings, Scaling, Yarn

KEYS = frozenset({"rope_parameters", "rope_scaling", "rope_theta", "original_max_position_embeddings"})
PARTIAL = "partial_rotary_factor"
DEFAULT_BASE = 10_000.0
LAYER_KINDS = ("full_attention", "sliding_attention")

Table = Mapping[str, Any]


def rotary_width(config: Mapping[str, Any], head_width: int, share: float) -> int:
    """How many coordinates of a head turn, by the config's `partial_rotary_factor`; `share` where it has none."""
    found = _table(config).get(PARTIAL)
    found = config.get(PARTIAL) if found is None else found
    width = int(head_width * (share if found is None else found))
    if width % 2 or not 0 < width <= head_width:
        raise CheckpointError(
            f"config.json: {PARTIAL} {share if found is None else found} turns {width} of the {head_width} coordinates "
            f"of a head; it must be an even number from 2 to {head_width}"
        )
    return width


def _table(config: Mapping[str, Any]) -> dict[str, Any]:
    return dict(config.get("rope_scaling") or config.get("rope_parameters") or {})


def read_rope(config: Mapping[str, Any], max_length: int, partial: bool = False) -> RopeSettings:
    """The rotary positions that a config.json asks for; CheckpointError naming a key that is missing or unknown.

    partial: only a share of each head may turn (`rotary_width`).
    """
    table = _table(config)
    base = float(table.pop("rope_theta", None) or config.get("rope_theta") or DEFAULT_BASE)
    kind, older = table.pop("rope_type", None), table.pop("type", None)
    kind = kind or older or "default"
    if kind not in SCALINGS:
        raise CheckpointError(f"config.json: rope_type {kind!r} is not among those known{nearest(str(kind), SCALINGS)}")
    required, optional, make = SCALINGS[kind]
    if "original_max_position_embeddings" in optional:
        outer = config.get("original_max_position_embeddings")
        table["original_max_position_embeddings"] = outer or table.get("original_max_position_embeddings") or max_length
    if table.pop(PARTIAL, None) not in {None, 1.0} and not partial:
        raise CheckpointError(f"config.json: {PARTIAL} other than 1 is not known to this model_type")
    for key in required:
        if not isinstance(table.get(key), int | float):
            raise CheckpointError(
                f"config.json: rope_type {kind!r} needs a number {key!r}, received {table.get(key)!r}"
            )
    for key in table:
        if key not in required and key not in optional:
            raise CheckpointError(
                f"config.json: {key!r} is unknown to rope_type {kind!r}{nearest(key, [*required, *optional])}"
            )
    return RopeSettings(base, make(table, max_length))


def longest(rope: RopeSettings, max_length: int) -> int:
    """The length for which a model serves: dynamic NTK's stretches beyond the one that its config names."""
    return int(max_length * rope.scaling.factor) if isinstance(rope.scaling, DynamicNTK) else max_length


def ropes_by_layer(config: Mapping[str, Any], base: float, near_base: float) -> tuple[dict[str, Any], dict[str, Any]]:
    """Two configs that `read_rope` reads: one for layers that see all, one for those with a window.

    Since transformers 5 `rope_parameters` has a table for each kind of layer; before, a `rope_scaling` was meant for
    the layers that see all.
    """
    tables = config.get("rope_parameters") or {}
    if not isinstance(tables, dict) or not set(tables) <= set(LAYER_KINDS):
        raise CheckpointError(
            f"config.json: rope_parameters must have a table for each of {', '.join(LAYER_KINDS)}, received {tables!r}"
        )
    full, near = (dict(tables.get(kind) or {}) for kind in LAYER_KINDS)
    full = {"rope_theta": config.get("rope_theta") or base} | full | (config.get("rope_scaling") or {})
    near = {"rope_theta": near_base} | near
    flat = {key: value for key, value in config.items() if key not in {"rope_scaling", "rope_theta"}}
    return {**flat, "rope_parameters": full}, {**flat, "rope_parameters": near}


def _yarn(table: Table, max_length: int) -> Yarn:
    trained = table["original_max_position_embeddings"]
    factor = table.get("factor") or max_length / trained
    gain = table.get("attention_factor")
    if gain is None:
        over, under = table.get("mscale"), table.get("mscale_all_dim")
        gain = _warmth(factor, over) / _warmth(factor, under) if over and under else _warmth(factor, 1.0)
    fast, slow = table.get("beta_fast") or 32.0, table.get("beta_slow") or 1.0
    return Yarn(factor, trained, fast, slow, table.get("truncate", True), gain)


def _warmth(factor: float, scale: float) -> float:
    """YaRN's attention temperature, 0.1·scale·ln(factor) + 1."""
    return 1.0 if factor <= 1 else 0.1 * scale * math.log(factor) + 1.0


def _longrope(table: Table, max_length: int) -> LongRope:
    trained = table["original_max_position_embeddings"]
    factor = table.get("factor") or max_length / trained
    gain = table.get("attention_factor")
    if gain is None:
        gain = 1.0 if factor <= 1 else math.sqrt(1 + math.log(factor) / math.log(trained))
    for key in ("short_factor", "long_factor"):
        given = table.get(key)
        if (
            not isinstance(given, list)
            or not given
            or not all(isinstance(one, int | float) and one > 0 for one in given)
        ):
            raise CheckpointError(
                f"config.json: rope_type 'longrope' needs a list of numbers {key!r}, received {given!r}"
            )
    return LongRope(tuple(table["short_factor"]), tuple(table["long_factor"]), trained, gain)


def _llama3(table: Table, max_length: int) -> Llama3:
    trained = table["original_max_position_embeddings"]
    return Llama3(table["factor"], table["low_freq_factor"], table["high_freq_factor"], trained)


# rope_type: the keys it needs, those it may have, and our scaling from them
SCALINGS: dict[str, tuple[tuple[str, ...], tuple[str, ...], Callable[[Table, int], Scaling]]] = {
    "default": ((), (), lambda table, max_length: Plain()),
    "linear": (("factor",), (), lambda table, max_length: Linear(table["factor"])),
    "dynamic": (("factor",), (), lambda table, max_length: DynamicNTK(table["factor"], max_length)),
    "llama3": (
        ("factor", "low_freq_factor", "high_freq_factor"),
        ("original_max_position_embeddings",),
        _llama3,
    ),
    "yarn": (
        (),
        (
            *("factor", "original_max_position_embeddings", "attention_factor", "beta_fast", "beta_slow"),
            *("mscale", "mscale_all_dim", "truncate"),
        ),
        _yarn,
    ),
    "longrope": (
        (),
        ("short_factor", "long_factor", "factor", "attention_factor", "original_max_position_embeddings"),
        _longrope,
    ),
}
