"""OLMo 3: an OLMo 2 in which three of four layers see a window, whose rotary angles are never stretched.

Team OLMo, "Olmo 3" (2025). Read and written as transformers' `Olmo3ForCausalLM` does.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from nextword.models import llama_like
from nextword.models.families import olmo2
from nextword.models.family import Special, check_value, typed
from nextword.models.rope_config import LAYER_KINDS, read_rope, ropes_by_layer
from nextword.models.settings import ModelSettings
from nextword.models.transformer import TransformerSettings

WINDOW, PATTERN, BASE = 4096, 4, 500_000.0  # the last of four layers sees all
DEFAULTS = {"sliding_window": WINDOW, "max_position_embeddings": 2048}  # transformers'


def describe(config: Mapping[str, Any]) -> TransformerSettings:
    """Our description of the blocks from a config.json; CheckpointError naming the key that is wrong or unknown."""
    config = DEFAULTS | config
    check_value(config, "rope_theta", BASE)  # of another one readers disagree whether it is meant for all layers
    far, near = ropes_by_layer(config, BASE, BASE)
    found = olmo2.describe(far, "layer_types", "sliding_window")
    windows = llama_like.layer_windows(
        config, typed(config, "sliding_window", int, None), lambda layer: (layer + 1) % PATTERN != 0
    )
    return replace(llama_like.windowed(found, windows), near_rope=read_rope(near, config["max_position_embeddings"]))


def fresh(settings: ModelSettings, vocab_size: int, special: Special) -> dict[str, Any]:
    """The config.json of a fresh OLMo 3."""
    own = {"architectures": ["Olmo3ForCausalLM"], "model_type": "olmo3", "attention_bias": False}
    config = llama_like.fresh(settings, vocab_size, special, **own, sliding_window=settings.window or WINDOW)
    del config["rope_theta"]
    table = {"rope_theta": settings.rope_base or BASE, "rope_type": "default"}
    return config | {"rope_parameters": {kind: dict(table) for kind in LAYER_KINDS}}


FAMILY = llama_like.llama_like(describe, fresh, honoured=llama_like.HONOURED | {"window"})
