"""Phi: decoder whose attention and feed-forward stand side by side behind one norm, with biases everywhere.

Gunasekar et al., "Textbooks Are All You Need" (2023); Li et al., "phi-1.5" (2023); Phi-2 (Microsoft, 2023). Read and
written as transformers' `PhiForCausalLM` does.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from nextword.core.errors import SettingsError
from nextword.models import gpt_like
from nextword.models.family import Special, check_keys, divided, required, typed
from nextword.models.gpt_like import LATER
from nextword.models.llama_like import each_attention, each_block
from nextword.models.rope_config import KEYS as ROPE_KEYS
from nextword.models.rope_config import PARTIAL
from nextword.models.settings import ModelSettings
from nextword.models.transformer import TransformerSettings
from nextword.models.weights import Rule, pair, same
from nextword.nn.head import HeadSettings

_KEYS = """
    attention_dropout embd_pdrop hidden_act hidden_size intermediate_size layer_norm_eps max_position_embeddings
    num_attention_heads num_hidden_layers num_key_value_heads partial_rotary_factor qk_layernorm resid_pdrop
    tie_word_embeddings vocab_size
"""
KEYS = ROPE_KEYS | frozenset(_KEYS.split())
SHARE = 0.5  # of a head's coordinates turns


def describe(config: Mapping[str, Any]) -> TransformerSettings:
    """Our description of the blocks from a config.json; CheckpointError naming the key that is wrong or unknown."""
    check_keys(config, KEYS)
    required(config, LATER.inner, int)
    found = gpt_like.turned(gpt_like.describe(config, LATER, tied=False), config, SHARE)
    attention, norm = found.blocks[0].attention, found.blocks[0].norm
    kv_heads = typed(config, "num_key_value_heads", int, attention.heads)
    divided(attention.heads, kv_heads, ("num_attention_heads", "num_key_value_heads"))
    normed = typed(config, "qk_layernorm", bool, False)
    qk_norm = replace(norm, width=attention.head_width) if normed else None
    found = each_attention(found, kv_heads=kv_heads, qk_norm=qk_norm)
    return replace(each_block(found, arrangement="parallel-shared"), head=HeadSettings(bias=True))


def rules(config: Mapping[str, Any]) -> list[Rule]:
    """How transformers names the tensors."""
    linears = {
        **{f"self_attn.{part[0]}_proj": f"attention.{part}" for part in ("query", "key", "value")},
        **{"self_attn.dense": "attention.output", "mlp.fc1": "feedforward.up", "mlp.fc2": "feedforward.down"},
        "input_layernorm": "attention_norm",
    }
    if config.get("qk_layernorm"):
        linears |= {"self_attn.q_layernorm": "attention.query_norm", "self_attn.k_layernorm": "attention.key_norm"}
    found = [same("model.embed_tokens.weight", "embedding.weight"), *pair("model.final_layernorm", "norm")]
    for layer in range(config["num_hidden_layers"]):
        for their_name, our_name in linears.items():
            found += pair(f"model.layers.{layer}.{their_name}", f"blocks.{layer}.{our_name}")
    return [*found, same("lm_head.bias", "head.bias")]


def fresh(settings: ModelSettings, vocab_size: int, special: Special) -> dict[str, Any]:
    """The config.json of a fresh Phi, in transformers' layout."""
    config = gpt_like.fresh(settings, vocab_size, special, LATER, tied=False, rotary=True)
    width, heads = config["hidden_size"], config["num_attention_heads"]
    kv_heads = settings.kv_heads or heads
    divided(heads, kv_heads, ("model.heads", "model.kv_heads"), SettingsError)
    rope = gpt_like.fresh_rope(settings, width // heads, SHARE)
    return config | {
        "architectures": ["PhiForCausalLM"],
        "intermediate_size": settings.ffn_width or 4 * width,
        "model_type": "phi",
        "num_key_value_heads": kv_heads,
        PARTIAL: rope[PARTIAL],  # this and rope_theta for readers of the older layout
        "qk_layernorm": False,
        "rope_parameters": rope,
        "rope_theta": rope["rope_theta"],
    }


FAMILY = gpt_like.gpt_like(
    *(describe, fresh, rules, "model.", "embed_tokens.weight"), honoured=gpt_like.HONOURED | {"kv_heads", "rope_base"}
)
