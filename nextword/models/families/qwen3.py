"""Qwen 3: a Llama whose queries and keys are normed head by head, so that scores stay small without biases.

Yang et al., "Qwen3 Technical Report" (2025). The width of a head is its own setting. Read and written as transformers'
`Qwen3ForCausalLM` does.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from nextword.models import llama_like
from nextword.models.families import qwen2
from nextword.models.family import Special
from nextword.models.settings import ModelSettings
from nextword.models.transformer import TransformerSettings

DEFAULTS = {"head_dim": 128} | qwen2.DEFAULTS  # transformers'


def describe(config: Mapping[str, Any]) -> TransformerSettings:
    """Our description of the blocks from a config.json; CheckpointError naming the key that is wrong or unknown."""
    found = llama_like.describe(DEFAULTS | config, "attention_bias", *qwen2.WINDOW_KEYS)
    norm = replace(found.blocks[0].norm, width=found.blocks[0].attention.head_width)
    return llama_like.each_attention(qwen2.upper_windowed(found, config), qk_norm=norm)


def fresh(settings: ModelSettings, vocab_size: int, special: Special) -> dict[str, Any]:
    """The config.json of a fresh Qwen 3."""
    own = {"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "attention_bias": False}
    return llama_like.fresh(settings, vocab_size, special, **own, **qwen2.windows(settings))


FAMILY = llama_like.llama_like(describe, fresh, honoured=qwen2.HONOURED, answers=llama_like.ANSWERS)
