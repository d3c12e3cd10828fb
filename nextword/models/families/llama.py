"""Llama: pre-norm decoder with RMSNorm, rotary positions, grouped-query attention and a gated feed-forward.

Touvron et al., "LLaMA" (2023) and "Llama 2" (2023); Grattafiori et al., "The Llama 3 Herd of Models" (2024). Read and
written as transformers' `LlamaForCausalLM` does. Yi, DeepSeek-LLM and SmolLM are Llamas, too.
"""

from collections.abc import Mapping
from typing import Any

from nextword.models import llama_like
from nextword.models.family import Special, check_off
from nextword.models.settings import ModelSettings
from nextword.models.transformer import TransformerSettings


def describe(config: Mapping[str, Any]) -> TransformerSettings:
    """Our description of the blocks from a config.json; CheckpointError naming the key that is wrong or unknown."""
    check_off(config, "rope_interleaved")
    return llama_like.describe(config, "attention_bias", "mlp_bias", "rope_interleaved")


def fresh(settings: ModelSettings, vocab_size: int, special: Special) -> dict[str, Any]:
    """The config.json of a fresh Llama."""
    own = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "attention_bias": False, "mlp_bias": False}
    return llama_like.fresh(settings, vocab_size, special, **own)


FAMILY = llama_like.llama_like(describe, fresh, answers=llama_like.ANSWERS)
