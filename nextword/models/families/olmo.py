"""OLMo: a Llama whose norms have nothing to learn, and whose queries, keys and values may be cut off at ±clip_qkv.

Groeneveld et al., "OLMo: Accelerating the Science of Language Models" (2024). Read and written as transformers'
`OlmoForCausalLM` does; the norm's ε is 1e-5 in every OLMo.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from nextword.models import llama_like
from nextword.models.family import Special, check_value, positive
from nextword.models.settings import ModelSettings
from nextword.models.transformer import TransformerSettings
from nextword.nn.norm import NormSettings

EPSILON = 1e-5


def describe(config: Mapping[str, Any]) -> TransformerSettings:
    """Our description of the blocks from a config.json; CheckpointError naming the key that is wrong or unknown."""
    check_value(config, "rms_norm_eps", EPSILON)
    found = llama_like.describe(config, "attention_bias", "clip_qkv")
    norm = NormSettings(found.width, EPSILON, "bare layer")
    found = llama_like.each_attention(llama_like.each_block(found, norm=norm), clip=positive(config, "clip_qkv"))
    return replace(found, norm=norm)


def fresh(settings: ModelSettings, vocab_size: int, special: Special) -> dict[str, Any]:
    """The config.json of a fresh OLMo."""
    own = {"architectures": ["OlmoForCausalLM"], "model_type": "olmo", "attention_bias": False, "clip_qkv": None}
    config = llama_like.fresh(settings, vocab_size, special, **own)
    del config["rms_norm_eps"]
    return config


FAMILY = llama_like.llama_like(describe, fresh, honoured=llama_like.HONOURED - {"norm_eps"})
