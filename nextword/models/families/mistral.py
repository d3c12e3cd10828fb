"""Mistral: a Llama whose layers see only the last `sliding_window` tokens; what lies further back comes layer by layer.

Jiang et al., "Mistral 7B" (2023); later versions have no window. Read and written as transformers' `MistralForCausalLM`
does.
"""

from collections.abc import Mapping
from typing import Any

from nextword.models import llama_like
from nextword.models.family import Special, typed
from nextword.models.settings import ModelSettings
from nextword.models.transformer import TransformerSettings

DEFAULTS = {"num_key_value_heads": 8, "sliding_window": 4096, "max_position_embeddings": 131_072}  # transformers'


def describe(config: Mapping[str, Any]) -> TransformerSettings:
    """Our description of the blocks from a config.json; CheckpointError naming the key that is wrong or unknown."""
    config = DEFAULTS | config
    found = llama_like.describe(config, "sliding_window")
    return llama_like.windowed(found, [typed(config, "sliding_window", int, None)] * len(found.blocks))


def fresh(settings: ModelSettings, vocab_size: int, special: Special) -> dict[str, Any]:
    """The config.json of a fresh Mistral."""
    own = {"architectures": ["MistralForCausalLM"], "model_type": "mistral"}
    return llama_like.fresh(settings, vocab_size, special, **own, sliding_window=settings.window)


FAMILY = llama_like.llama_like(describe, fresh, honoured=llama_like.HONOURED | {"window"})
