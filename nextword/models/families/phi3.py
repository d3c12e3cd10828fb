"""Phi 3 and 4: a Llama whose file keeps queries, keys and values in one matrix and gate and up in another.

Abdin et al., "Phi-3 Technical Report" (2024). Versions for long texts stretch their rotary angles by LongRoPE, Phi 4
mini turns only three quarters of a head, Phi 3 mini has a window. Read and written as transformers' `Phi3ForCausalLM`
does.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from nextword.core.errors import CheckpointError
from nextword.models import llama_like
from nextword.models.family import Special, check_off, check_value, typed
from nextword.models.settings import ModelSettings
from nextword.models.transformer import TransformerSettings
from nextword.models.weights import Rule, stacked
from nextword.nn.attention import AttentionSettings
from nextword.nn.embedding import EmbeddingSettings
from nextword.nn.feedforward import FeedForwardSettings
from nextword.nn.position.rope import LongRope, Plain

DEFAULTS = {"max_position_embeddings": 4096, "original_max_position_embeddings": 4096, "rms_norm_eps": 1e-5}
_KEYS = "attention_bias embd_pdrop full_attn_mod interpolate_factor lm_head_bias mlp_bias partial_rotary_factor"
KEYS = (*_KEYS.split(), "resid_pdrop", "sliding_window")
OLDER = {"su", "yarn"}  # what the first files called LongRoPE


def describe(config: Mapping[str, Any]) -> TransformerSettings:
    """Our description of the blocks from a config.json; CheckpointError naming the key that is wrong or unknown."""
    config = DEFAULTS | renamed(config)
    for key in ("attention_bias", "lm_head_bias", "mlp_bias"):
        check_off(config, key)
    for key in ("full_attn_mod", "interpolate_factor"):
        check_value(config, key, 1)
    found = llama_like.describe(config, *KEYS, partial=True)
    if found.rope is None or not isinstance(found.rope.scaling, Plain | LongRope):
        raise CheckpointError("config.json: model_type 'phi3' knows no rope_type but default and longrope")
    found = llama_like.windowed(found, [typed(config, "sliding_window", int, None)] * len(found.blocks))
    found = llama_like.each_block(found, dropout=typed(config, "resid_pdrop", float, 0.0))
    drop = typed(config, "embd_pdrop", float, 0.0)
    return replace(found, embedding=EmbeddingSettings(dropout=drop) if drop else None)


def renamed(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config with LongRoPE under its name of today."""
    found = dict(config)
    for key in ("rope_scaling", "rope_parameters"):
        table = found.get(key)
        if isinstance(table, dict) and (table.get("rope_type") or table.get("type")) in OLDER:
            found[key] = {name: value for name, value in table.items() if name != "type"} | {"rope_type": "longrope"}
    return found


def attention_rules(theirs: str, ours: str, settings: AttentionSettings) -> list[Rule]:
    """Queries, keys and values one below the other."""
    kv = settings.kv_heads * settings.head_width
    parts = tuple(f"{ours}.{part}.weight" for part in ("query", "key", "value"))
    fused = Rule((f"{theirs}.qkv_proj.weight",), parts, stacked(settings.heads * settings.head_width, kv, kv))
    return [fused, *llama_like.linear(f"{theirs}.o_proj", f"{ours}.output", False)]


def feedforward_rules(theirs: str, ours: str, settings: FeedForwardSettings) -> list[Rule]:
    """Gate and up one below the other."""
    parts = tuple(f"{ours}.{part}.weight" for part in ("gate", "up"))
    fused = Rule((f"{theirs}.gate_up_proj.weight",), parts, stacked(settings.ffn_width, settings.ffn_width))
    return [fused, *llama_like.linear(f"{theirs}.down_proj", f"{ours}.down", False)]


def rules(settings: TransformerSettings) -> list[Rule]:
    """How transformers names the tensors."""
    return llama_like.rules(settings, attention_rules, feedforward_rules)


def fresh(settings: ModelSettings, vocab_size: int, special: Special) -> dict[str, Any]:
    """The config.json of a fresh Phi 3."""
    own = {"architectures": ["Phi3ForCausalLM"], "model_type": "phi3", "sliding_window": settings.window}
    config = llama_like.fresh(settings, vocab_size, special, **own)
    return config | {"original_max_position_embeddings": config["max_position_embeddings"]}


FAMILY = llama_like.llama_like(describe, fresh, rules, llama_like.HONOURED | {"window"})
