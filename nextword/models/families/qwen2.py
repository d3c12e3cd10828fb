"""Qwen 2 and 2.5: a Llama whose queries, keys and values have biases; upper layers may have a window.

Yang et al., "Qwen2 Technical Report" (2024), "Qwen2.5 Technical Report" (2024). A `sliding_window` counts only with
`use_sliding_window`, in the layers from `max_window_layers` on or those that `layer_types` names. Read and written as
transformers' `Qwen2ForCausalLM` does.
"""

from collections.abc import Mapping
from typing import Any

from nextword.models import llama_like
from nextword.models.family import Special, typed
from nextword.models.settings import ModelSettings
from nextword.models.transformer import TransformerSettings

WINDOW_KEYS = ("layer_types", "max_window_layers", "sliding_window", "use_sliding_window")
WINDOWS = {"sliding_window": 4096, "max_window_layers": 28}
DEFAULTS = {"num_key_value_heads": 32, "max_position_embeddings": 32768, **WINDOWS}  # transformers'
HONOURED = llama_like.HONOURED | {"window"}


def describe(config: Mapping[str, Any]) -> TransformerSettings:
    """Our description of the blocks from a config.json; CheckpointError naming the key that is wrong or unknown."""
    found = llama_like.describe(DEFAULTS | config, *WINDOW_KEYS)
    return llama_like.each_attention(upper_windowed(found, config), bias=True, output_bias=False)


def upper_windowed(found: TransformerSettings, config: Mapping[str, Any]) -> TransformerSettings:
    """The same with windows where Qwen's configs say so."""
    config = WINDOWS | config
    used = typed(config, "use_sliding_window", bool, False)
    window = typed(config, "sliding_window", int, None) if used else None
    first = config["max_window_layers"]
    windows = llama_like.layer_windows(
        config, window, lambda layer: window is not None and layer >= first, ["use_sliding_window"]
    )
    return llama_like.windowed(found, windows)


def fresh(settings: ModelSettings, vocab_size: int, special: Special) -> dict[str, Any]:
    """The config.json of a fresh Qwen 2."""
    own = {"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2"}
    return llama_like.fresh(settings, vocab_size, special, **own, **windows(settings))


def windows(settings: ModelSettings) -> dict[str, Any]:
    """What a fresh config says of windows: where one is asked for, every layer has it."""
    return {
        "max_window_layers": 0 if settings.window else settings.depth or llama_like.DEPTH,
        "sliding_window": settings.window,
        "use_sliding_window": settings.window is not None,
    }


FAMILY = llama_like.llama_like(describe, fresh, honoured=HONOURED, answers=llama_like.ANSWERS)
