"""Qwen 1.5-MoE and Qwen 2 with experts: small experts, and a wide one that serves every token through a gate.

Qwen Team, "Qwen1.5-MoE" (2024); Yang et al., "Qwen2 Technical Report" (2024). Layers may go without experts
(`mlp_only_layers`, `decoder_sparse_step`). Read and written as transformers' `Qwen2MoeForCausalLM` does.
"""

from collections.abc import Mapping
from typing import Any

from nextword.models import llama_like, mixture_config
from nextword.models.families import qwen2
from nextword.models.family import Special, typed
from nextword.models.settings import ModelSettings
from nextword.models.transformer import TransformerSettings

DEFAULTS = {  # transformers'
    **{"num_key_value_heads": 16, "max_position_embeddings": 32768, "router_aux_loss_coef": 0.001},
    **{"num_experts": 60, "num_experts_per_tok": 4, "moe_intermediate_size": 1408},
    **{"shared_expert_intermediate_size": 5632, "intermediate_size": 5632},
}
SHARED = "shared_expert_intermediate_size"


def describe(config: Mapping[str, Any]) -> TransformerSettings:
    """Our description of the blocks from a config.json; CheckpointError naming the key that is wrong or unknown."""
    config = DEFAULTS | qwen2.WINDOWS | config
    further = (*mixture_config.KEYS, *mixture_config.SPARSE_KEYS, *qwen2.WINDOW_KEYS, SHARED, "qkv_bias")
    found = llama_like.describe(config, *further)
    bias = typed(config, "qkv_bias", bool, True)
    found = llama_like.each_attention(windowed(found, config), bias=bias, output_bias=False)
    widths = {"ffn_width": typed(config, "moe_intermediate_size", int, None), "shared_width": config[SHARED]}
    return mixture_config.with_experts(found, config, mixture_config.sparse_layers(config), **widths)


def windowed(found: TransformerSettings, config: Mapping[str, Any]) -> TransformerSettings:
    """The same with windows in every second of the first `max_window_layers` layers, or where `layer_types` says so."""
    used = typed(config, "use_sliding_window", bool, False)
    window = typed(config, "sliding_window", int, None) if used else None
    last = config["max_window_layers"]
    windows = llama_like.layer_windows(
        config, window, lambda layer: used and layer % 2 == 0 and layer < last, ["use_sliding_window"]
    )
    return llama_like.windowed(found, windows)


def fresh(settings: ModelSettings, vocab_size: int, special: Special) -> dict[str, Any]:
    """The config.json of a fresh one; every layer has experts, and the shared one is as wide as those chosen."""
    own = {"architectures": ["Qwen2MoeForCausalLM"], "model_type": "qwen2_moe", "norm_topk_prob": False}
    config = mixture_config.fine(mixture_config.fresh(settings, vocab_size, special), **own, qkv_bias=True)
    layers = ["sliding_attention" if settings.window else "full_attention"] * config["num_hidden_layers"]
    return config | {
        "layer_types": layers,
        "max_window_layers": len(layers) if settings.window else 0,
        SHARED: config["intermediate_size"],
        "sliding_window": settings.window,
        "use_sliding_window": settings.window is not None,
    }


FAMILY = llama_like.llama_like(describe, fresh, mixture_config.rules, mixture_config.HONOURED | {"window"})
