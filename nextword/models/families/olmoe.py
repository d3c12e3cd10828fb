"""OLMoE: a Llama with many small experts, and one RMSNorm over all heads' queries and another over all keys.

Muennighoff et al., "OLMoE: Open Mixture-of-Experts Language Models" (2024): 64 experts, 8 for each token, whose weights
are not renormalised. Read and written as transformers' `OlmoeForCausalLM` does.
"""

from collections.abc import Mapping
from typing import Any

from nextword.models import llama_like, mixture_config
from nextword.models.family import Special, positive
from nextword.models.settings import ModelSettings
from nextword.models.transformer import TransformerSettings

DEFAULTS = {  # transformers'
    **{"max_position_embeddings": 4096, "rms_norm_eps": 1e-5, "num_experts": 64, "num_experts_per_tok": 8},
    "router_aux_loss_coef": 0.01,
}


def describe(config: Mapping[str, Any]) -> TransformerSettings:
    """Our description of the blocks from a config.json; CheckpointError naming the key that is wrong or unknown."""
    config = DEFAULTS | config
    found = llama_like.describe(config, "attention_bias", "clip_qkv", *mixture_config.KEYS)
    norm = found.blocks[0].norm
    found = llama_like.each_attention(found, qk_norm=norm, qk_joint=True, clip=positive(config, "clip_qkv"))
    return mixture_config.with_experts(found, config, range(len(found.blocks)))


def fresh(settings: ModelSettings, vocab_size: int, special: Special) -> dict[str, Any]:
    """The config.json of a fresh OLMoE."""
    own = {"architectures": ["OlmoeForCausalLM"], "model_type": "olmoe", "attention_bias": False, "clip_qkv": None}
    return mixture_config.fresh(settings, vocab_size, special, **own, norm_topk_prob=False)


FAMILY = llama_like.llama_like(describe, fresh, mixture_config.rules, mixture_config.HONOURED)
