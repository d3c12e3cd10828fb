"""Qwen 3 with experts: Qwen 3 with many small experts in place of its feed-forwards, and none that is shared.

Yang et al., "Qwen3 Technical Report" (2025): 128 experts, 8 for each token. Layers may go without experts
(`mlp_only_layers`, `decoder_sparse_step`). Read and written as transformers' `Qwen3MoeForCausalLM` does: with
`use_sliding_window` every layer has the window, and a `max_window_layers` beside it, which others obey, is refused.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from nextword.models import llama_like, mixture_config
from nextword.models.family import Special, aliased, typed
from nextword.models.settings import ModelSettings
from nextword.models.transformer import TransformerSettings

DEFAULTS = {  # transformers'
    **{"num_key_value_heads": 4, "max_position_embeddings": 32768, "sliding_window": 4096},
    **{"num_experts": 128, "num_experts_per_tok": 8, "moe_intermediate_size": 768, "intermediate_size": 6144},
    "router_aux_loss_coef": 0.001,
}
ALIASES = {"num_local_experts": "num_experts"}  # what transformers 5 writes -> what published files have
WINDOW_KEYS = ("sliding_window", "use_sliding_window")


def describe(config: Mapping[str, Any]) -> TransformerSettings:
    """Our description of the blocks from a config.json; CheckpointError naming the key that is wrong or unknown."""
    config = DEFAULTS | aliased(config, ALIASES)
    used = typed(config, "use_sliding_window", bool, False)
    further = () if used else ("max_window_layers",)
    keys = (*mixture_config.KEYS, *mixture_config.SPARSE_KEYS, *WINDOW_KEYS, *further)
    found = llama_like.describe(config, "attention_bias", *keys)
    norm = replace(found.blocks[0].norm, width=found.blocks[0].attention.head_width)
    window = typed(config, "sliding_window", int, None) if used else None
    found = llama_like.windowed(llama_like.each_attention(found, qk_norm=norm), [window] * len(found.blocks))
    width = typed(config, "moe_intermediate_size", int, None)
    return mixture_config.with_experts(found, config, mixture_config.sparse_layers(config), ffn_width=width)


def fresh(settings: ModelSettings, vocab_size: int, special: Special) -> dict[str, Any]:
    """The config.json of a fresh one; every layer has experts."""
    own = {"architectures": ["Qwen3MoeForCausalLM"], "model_type": "qwen3_moe", "norm_topk_prob": True}
    config = mixture_config.fine(mixture_config.fresh(settings, vocab_size, special), **own, attention_bias=False)
    return config | {"sliding_window": settings.window, "use_sliding_window": settings.window is not None}


FAMILY = llama_like.llama_like(describe, fresh, mixture_config.rules, mixture_config.HONOURED | {"window"})
