"""Falcon: decoders of two generations whose query heads share one, or a few, key-value heads.

Almazrouei et al., "The Falcon Series of Open Language Models" (2023); Penedo et al., "RefinedWeb" (2023). Falcon-7B:
one key-value head, both parts side by side behind one norm. The "new decoder architecture" of Falcon-40B and 180B: a
few key-value heads, a norm for each part; Falcon2-11B: one norm. Falcon-RW: parts in turn, ALiBi in place of rotary
positions. Read and written as transformers' `FalconForCausalLM` does, queries, keys and values in one matrix.
"""

from collections.abc import Mapping
from typing import Any

from nextword.core.errors import CheckpointError, SettingsError
from nextword.models.decoder_tasks import with_tasks
from nextword.models.family import (
    Family,
    Special,
    aliased,
    check_keys,
    check_value,
    divided,
    known_activation,
    required,
    typed,
)
from nextword.models.fresh import DEPTH, LENGTH, common, even_heads
from nextword.models.fused import grouped, grouped_rules
from nextword.models.rope_config import DEFAULT_BASE, longest, read_rope
from nextword.models.rope_config import KEYS as ROPE_KEYS
from nextword.models.settings import ModelSettings
from nextword.models.transformer import Transformer, TransformerSettings
from nextword.models.weights import Rule, pair, same
from nextword.nn.attention import AttentionSettings
from nextword.nn.block import BlockSettings
from nextword.nn.feedforward import FeedForwardSettings
from nextword.nn.norm import NormSettings
from nextword.nn.position.relative import AlibiSettings

_KEYS = """
    activation alibi apply_residual_connection_post_layernorm attention_dropout bias ffn_hidden_size hidden_dropout
    hidden_size layer_norm_epsilon max_position_embeddings multi_query new_decoder_architecture num_attention_heads
    num_hidden_layers num_kv_heads num_ln_in_parallel_attn parallel_attn tie_word_embeddings vocab_size
"""
KEYS = ROPE_KEYS | frozenset(_KEYS.split())
ALIASES = {"n_embed": "hidden_size"}
_HONOURED = "width depth heads kv_heads ffn_width max_length tied rope_base norm_eps dropout"
BOTH_NORMS = 2
# by arrangement: what transformers calls the norms of a block -> what we call them
NORMS = {
    "parallel": {"ln_attn": "attention_norm", "ln_mlp": "feedforward_norm"},
    "parallel-shared": {"input_layernorm": "attention_norm"},
    "pre": {"input_layernorm": "attention_norm", "post_attention_layernorm": "feedforward_norm"},
}


def arrangement(config: Mapping[str, Any]) -> str:
    """How the parts of a block stand, a key of NORMS; CheckpointError for what transformers cannot compute either."""
    new, parallel = typed(config, "new_decoder_architecture", bool, False), typed(config, "parallel_attn", bool, True)
    norms = typed(config, "num_ln_in_parallel_attn", int, BOTH_NORMS if new else 1)
    if (new and not parallel) or norms > BOTH_NORMS or (norms == BOTH_NORMS and not new):
        raise CheckpointError(
            f"config.json contradicts itself: new_decoder_architecture {new} with parallel_attn {parallel} and "
            f"num_ln_in_parallel_attn {norms}; the new architecture is parallel, and only it may have two norms"
        )
    if not parallel:
        return "pre"
    return "parallel" if norms == BOTH_NORMS else "parallel-shared"


def kv_heads_of(config: Mapping[str, Any]) -> int:
    """How many key-value heads there are; `num_kv_heads` counts in the new architecture only."""
    heads: int = config["num_attention_heads"]
    if config.get("new_decoder_architecture"):
        return typed(config, "num_kv_heads", int, heads)  # type: ignore[no-any-return]
    if typed(config, "multi_query", bool, True):
        return 1
    if config.get("num_kv_heads") is not None:
        check_value(config, "num_kv_heads", heads)
    return heads


def describe(config: Mapping[str, Any]) -> TransformerSettings:
    """Our description of the blocks from a config.json; CheckpointError naming the key that is wrong or unknown."""
    config = aliased(config, ALIASES)
    check_keys(config, KEYS)
    check_value(config, "apply_residual_connection_post_layernorm", False)
    width, heads = required(config, "hidden_size", int), required(config, "num_attention_heads", int)
    head_width, kv_heads = divided(width, heads, ("hidden_size", "num_attention_heads")), kv_heads_of(config)
    divided(heads, kv_heads, ("num_attention_heads", "num_kv_heads"))
    alibi, bias = typed(config, "alibi", bool, False), typed(config, "bias", bool, False)
    if head_width % 2 and not alibi:
        raise CheckpointError(f"config.json: hidden_size {width} over num_attention_heads {heads} must be even")
    norm = NormSettings(width, typed(config, "layer_norm_epsilon", float, 1e-5), "layer")
    attention = AttentionSettings(
        **{"width": width, "heads": heads, "kv_heads": kv_heads, "head_width": head_width, "bias": bias},
        dropout=typed(config, "attention_dropout", float, 0.0),
        rotary=not alibi,
    )
    activation = known_activation(config, "activation", "gelu")
    ffn = FeedForwardSettings(width, typed(config, "ffn_hidden_size", int, 4 * width), activation, bias, gated=False)
    drop = typed(config, "hidden_dropout", float, 0.0)
    max_length = typed(config, "max_position_embeddings", int, 2048)
    rope = read_rope(config, max_length)
    return TransformerSettings(
        blocks=(BlockSettings(norm, attention, ffn, arrangement(config), dropout=drop),)
        * required(config, "num_hidden_layers", int),
        norm=norm,
        rope=None if alibi else rope,
        bias=AlibiSettings(heads, head_width**-0.5, rounded=True) if alibi else None,
        vocab_size=required(config, "vocab_size", int),
        width=width,
        max_length=max_length if alibi else longest(rope, max_length),
        tied=typed(config, "tie_word_embeddings", bool, True),
    )


def build(config: dict[str, Any]) -> Transformer:
    """The model that a config.json describes."""
    return Transformer(describe(config), config)


def rules(config: Mapping[str, Any]) -> list[Rule]:
    """How transformers names the tensors."""
    split = grouped(config["num_attention_heads"], kv_heads_of(config))
    kinds = ("weight", "bias") if config.get("bias") else ("weight",)
    linears = {
        "self_attention.dense": "attention.output",
        "mlp.dense_h_to_4h": "feedforward.up",
        "mlp.dense_4h_to_h": "feedforward.down",
    }
    found = [same("transformer.word_embeddings.weight", "embedding.weight"), *pair("transformer.ln_f", "norm")]
    for layer in range(config["num_hidden_layers"]):
        theirs, ours = f"transformer.h.{layer}", f"blocks.{layer}"
        found += grouped_rules(f"{theirs}.self_attention.query_key_value", f"{ours}.attention", split, kinds)
        found += [same(f"{theirs}.{x}.{kind}", f"{ours}.{y}.{kind}") for x, y in linears.items() for kind in kinds]
        for their_name, our_name in NORMS[arrangement(config)].items():
            found += pair(f"{theirs}.{their_name}", f"{ours}.{our_name}")
    if config.get("tie_word_embeddings") is False:
        found.append(same("lm_head.weight", "head.weight"))
    return found


def copies(config: Mapping[str, Any]) -> dict[str, str]:
    """The output matrix of a tied model, which some files repeat."""
    tied = config.get("tie_word_embeddings") is not False
    return {"lm_head.weight": "transformer.word_embeddings.weight"} if tied else {}


def fresh(settings: ModelSettings, vocab_size: int, special: Special) -> dict[str, Any]:
    """The config.json of a fresh Falcon of the new architecture, in transformers' layout."""
    width, heads = even_heads(settings)
    kv_heads = settings.kv_heads or 1
    divided(heads, kv_heads, ("model.heads", "model.kv_heads"), SettingsError)
    base, dropout = settings.rope_base or DEFAULT_BASE, settings.dropout or 0.0
    return common(settings, vocab_size, special, tied=True) | {
        "activation": "gelu",
        "alibi": False,
        "architectures": ["FalconForCausalLM"],
        "attention_dropout": dropout,
        "bias": False,
        "ffn_hidden_size": settings.ffn_width or 4 * width,
        "hidden_dropout": dropout,
        "hidden_size": width,
        "layer_norm_epsilon": 1e-5 if settings.norm_eps is None else settings.norm_eps,
        "max_position_embeddings": settings.max_length or LENGTH,
        "model_type": "falcon",
        "multi_query": True,
        "new_decoder_architecture": True,
        "num_attention_heads": heads,
        "num_hidden_layers": settings.depth or DEPTH,
        "num_kv_heads": kv_heads,
        "num_ln_in_parallel_attn": BOTH_NORMS,
        "parallel_attn": True,
        "rope_parameters": {"rope_theta": base, "rope_type": "default"},
        "rope_theta": base,  # for readers of the older layout
    }


FAMILY = with_tasks(
    Family(honoured=frozenset(_HONOURED.split()), config=fresh, build=build, rules=rules, copies=copies),
    "transformer.",
    tokens="classifier",
)
