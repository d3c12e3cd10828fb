"""SmolLM 3: a Llama in which every fourth layer knows no positions ("NoPE"), which helps with long texts.

Bakouch et al., "SmolLM3" (2025); Yang et al., "RoPE to NoPE and Back Again" (2025). Layers without positions may have a
window. Read and written as transformers' `SmolLM3ForCausalLM` does.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from nextword.core.errors import CheckpointError
from nextword.models import llama_like
from nextword.models.family import Special, typed
from nextword.models.settings import ModelSettings
from nextword.models.transformer import TransformerSettings

BASE, INTERVAL = 2_000_000.0, 4
DEFAULTS = {
    **{"num_key_value_heads": 4, "max_position_embeddings": 32768, "rope_theta": BASE, "tie_word_embeddings": True},
}  # fmt: skip - transformers'
_KEYS = (
    *("attention_bias", "layer_types", "mlp_bias", "no_rope_layer_interval", "no_rope_layers", "sliding_window"),
    *("max_window_layers", "use_sliding_window"),
)  # max_window_layers: stands in published files, and decides nothing


def describe(config: Mapping[str, Any]) -> TransformerSettings:
    """Our description of the blocks from a config.json; CheckpointError naming the key that is wrong or unknown."""
    config = DEFAULTS | config
    found = llama_like.describe(config, *_KEYS)
    turned = turned_layers(config, len(found.blocks))
    window = typed(config, "sliding_window", int, None) if typed(config, "use_sliding_window", bool, False) else None
    windows = llama_like.layer_windows(
        config, window, lambda layer: window is not None and not turned[layer], ["use_sliding_window"]
    )
    found = llama_like.windowed(found, windows)
    blocks = (
        replace(block, attention=replace(block.attention, rotary=turns))
        for block, turns in zip(found.blocks, turned, strict=True)
    )
    return replace(found, blocks=tuple(blocks))


def turned_layers(config: Mapping[str, Any], layers: int) -> list[bool]:
    """Whether each layer turns its queries and keys: `no_rope_layers` is 1 where it does, in spite of its name."""
    interval = typed(config, "no_rope_layer_interval", int, INTERVAL)
    listed = config.get("no_rope_layers")
    if listed is None:
        return [(layer + 1) % interval != 0 for layer in range(layers)]
    if not isinstance(listed, list) or len(listed) < layers or not set(listed) <= {0, 1}:
        raise CheckpointError(
            f"config.json: no_rope_layers must list 1 (positions) or 0 (none) for each of {layers} layers: {listed!r}"
        )
    return [bool(turns) for turns in listed[:layers]]


def fresh(settings: ModelSettings, vocab_size: int, special: Special) -> dict[str, Any]:
    """The config.json of a fresh SmolLM 3."""
    own = {"architectures": ["SmolLM3ForCausalLM"], "model_type": "smollm3", "attention_bias": False, "mlp_bias": False}
    own |= {"no_rope_layer_interval": INTERVAL}
    own |= {"sliding_window": settings.window, "use_sliding_window": settings.window is not None}
    return llama_like.fresh(settings, vocab_size, special, **own)


HONOURED = llama_like.HONOURED | {"window"}
FAMILY = llama_like.llama_like(describe, fresh, honoured=HONOURED, answers=llama_like.ANSWERS)
