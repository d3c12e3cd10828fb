"""Rotary positions in GGUF: a base, a kind of scaling, and tables of divisors as tensors.

Llama 3.1's ramp is not named in the file: its effect is the tensor `rope_freqs.weight`, a divisor for each pair of
coordinates, out of which the factors of the published models are recognised again. Divisors of no published ramp are
LongRoPE's with the same list for short and long texts, which computes the same.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from nextword.core.errors import CheckpointError
from nextword.nn.position.rope import Linear, Llama3, Plain, RopeSettings, plain_frequencies

DIVISORS = "rope_freqs.weight"
RAMPS = [Llama3(factor, 1.0, 4.0, 8192) for factor in (8.0, 16.0, 32.0)]  # Llama 3.1 and 3.3, 4, 3.2


def read_rope(get: Any, tensors: Mapping[str, Tensor], max_length: int) -> dict[str, Any]:
    """The part of a config.json that says how positions turn; `get` gives the file's values."""
    base = get.number("rope.freq_base", 10_000.0)
    kind = get.own.get("rope.scaling.type", "none")
    table: dict[str, Any] = {"rope_type": "default"}
    if kind == "linear":
        table = {"rope_type": "linear", "factor": get.number("rope.scaling.factor")}
    elif kind == "yarn":
        trained = get.integer("rope.scaling.original_context_length", max_length)
        factor = get.number("rope.scaling.factor")
        table = {"rope_type": "yarn", "factor": factor, "original_max_position_embeddings": trained}
    elif kind != "none":
        raise CheckpointError(f"{get.where}: {get.name}.rope.scaling.type {kind!r} is not read; known: linear, yarn")
    if DIVISORS in tensors:
        if kind != "none":
            raise CheckpointError(f"{get.where} has {DIVISORS} beside rope.scaling.type {kind!r}; only one is read")
        table = _recognised(tensors[DIVISORS].float(), base, max_length)
    return {"rope_parameters": {"rope_theta": base, **table}, "rope_theta": base}


def _recognised(divisors: Tensor, base: float, max_length: int) -> dict[str, Any]:
    width = 2 * divisors.numel()
    for ramp in RAMPS:
        if torch.allclose(divisors, _divisors(ramp, base, width), rtol=1e-5):
            return {
                "rope_type": "llama3",
                "factor": ramp.factor,
                "low_freq_factor": ramp.low_factor,
                "high_freq_factor": ramp.high_factor,
                "original_max_position_embeddings": ramp.trained_length,
            }
    each = divisors.tolist()
    lists = {"short_factor": each, "long_factor": each}
    return {
        "rope_type": "longrope", **lists, "attention_factor": 1.0, "original_max_position_embeddings": max_length
    }  # fmt: skip


def _divisors(ramp: Llama3, base: float, width: int) -> Tensor:
    return plain_frequencies(base, width) / ramp.frequencies(base, width)


def write_rope(rope: RopeSettings | None, width: int) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The values and tensors that say the same; CheckpointError for a scaling that GGUF has no words for."""
    if rope is None:
        raise CheckpointError("a model without rotary positions is no Llama of GGUF")
    values: dict[str, Any] = {"rope.freq_base": float(rope.base)}
    if isinstance(rope.scaling, Plain):
        return values, {}
    if isinstance(rope.scaling, Linear):
        factor = float(rope.scaling.factor)
        return values | {"rope.scaling.type": "linear", "rope.scaling.factor": factor}, {}
    if isinstance(rope.scaling, Llama3):
        return values, {DIVISORS: _divisors(rope.scaling, rope.base, width)}
    raise CheckpointError(
        f"rotary positions scaled by {type(rope.scaling).__name__} are not written to GGUF; "
        "plain ones, linear ones and Llama 3's are"
    )
