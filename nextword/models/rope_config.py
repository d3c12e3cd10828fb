"""Rotary positions as Hugging Face configs write them, in both layouts.

Since transformers 5: `rope_parameters` = {"rope_type", "rope_theta", ...}; before: `rope_theta` beside a
`rope_scaling` = {"type" or "rope_type", ...} that may be null. Which wins where both stand is decided as transformers
decides it.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

from nextword.core.errors import CheckpointError, nearest
from nextword.nn.position.rope import DynamicNTK, Linear, Llama3, Plain, RopeSettings, Scaling, Yarn

KEYS = frozenset({"rope_parameters", "rope_scaling", "rope_theta", "original_max_position_embeddings"})
DEFAULT_BASE = 10_000.0

Table = Mapping[str, Any]


def read_rope(config: Mapping[str, Any], max_length: int) -> RopeSettings:
    """The rotary positions that a config.json asks for; CheckpointError naming a key that is missing or unknown."""
    table = dict(config.get("rope_scaling") or config.get("rope_parameters") or {})
    base = float(table.pop("rope_theta", None) or config.get("rope_theta") or DEFAULT_BASE)
    kind, older = table.pop("rope_type", None), table.pop("type", None)
    kind = kind or older or "default"
    if kind not in SCALINGS:
        raise CheckpointError(f"config.json: rope_type {kind!r} is not among those known{nearest(str(kind), SCALINGS)}")
    required, optional, make = SCALINGS[kind]
    if "original_max_position_embeddings" in optional:
        outer = config.get("original_max_position_embeddings")
        table["original_max_position_embeddings"] = outer or table.get("original_max_position_embeddings") or max_length
    if table.pop("partial_rotary_factor", None) not in {None, 1.0}:
        raise CheckpointError("config.json: partial_rotary_factor other than 1 is not known to this model_type")
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
}
