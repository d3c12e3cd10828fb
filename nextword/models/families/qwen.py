"""Qwen 1: a Llama whose queries, keys and values have biases and stand in one matrix; its own names for everything.

Bai et al., "Qwen Technical Report" (2023). Read and written as the code that its authors publish beside the weights
does (`QWenLMHeadModel`): `intermediate_size` counts gate and up together, of which w2 is the gate. Beyond `seq_length`
that code stretches the rotary base by the length of the prompt (`use_dynamic_ntk`) and makes scores larger by
log_L(position) (`use_logn_attn`); what was cached before keeps its angles, so that a text read in pieces has other
numbers than one read whole. Here texts end at `seq_length` where one of the two is on; within it neither changes
anything.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from nextword.core.errors import CheckpointError
from nextword.models import llama_like
from nextword.models.family import Family, Special, check_keys, check_off, check_value, required, typed
from nextword.models.fresh import common, even_heads
from nextword.models.settings import ModelSettings
from nextword.models.transformer import TransformerSettings
from nextword.models.weights import Rule, same, stacked
from nextword.nn.embedding import EmbeddingSettings
from nextword.nn.position.rope import RopeSettings, Within

_KEYS = """
    attn_dropout_prob bf16 emb_dropout_prob fp16 fp32 hidden_size intermediate_size kv_channels layer_norm_epsilon
    max_position_embeddings no_bias num_attention_heads num_hidden_layers onnx_safe rotary_emb_base rotary_pct
    scale_attn_weights seq_length softmax_in_fp32 tie_word_embeddings use_cache_kernel use_cache_quantization
    use_dynamic_ntk use_flash_attn use_logn_attn vocab_size
"""  # bf16, fp16, fp32, onnx_safe, softmax_in_fp32, use_cache_kernel, use_flash_attn: how, not what, is computed
KEYS = frozenset(_KEYS.split())
HONOURED = llama_like.HONOURED - {"kv_heads", "head_width"}
LONGER = ("use_dynamic_ntk", "use_logn_attn")
PARTS = ("query", "key", "value")


def describe(config: Mapping[str, Any]) -> TransformerSettings:
    """Our description of the blocks from a config.json; CheckpointError naming the key that is wrong or unknown."""
    check_keys(config, KEYS)
    check_off(config, "use_cache_quantization")
    check_value(config, "scale_attn_weights", True)
    width, heads = required(config, "hidden_size", int), required(config, "num_attention_heads", int)
    head_width = typed(config, "kv_channels", int, 128)
    if heads * head_width != width:
        raise CheckpointError(f"config.json: kv_channels {head_width} times {heads} heads must be hidden_size {width}")
    length = typed(config, "seq_length", int, 8192)
    llama = {
        **{key: config.get(key) for key in ("model_type", "tie_word_embeddings", "vocab_size", "num_hidden_layers")},
        **{"hidden_size": width, "num_attention_heads": heads, "max_position_embeddings": length},
        "attention_dropout": config.get("attn_dropout_prob"),
        "intermediate_size": required(config, "intermediate_size", int) // 2,
        "partial_rotary_factor": typed(config, "rotary_pct", float, 1.0),
        "rms_norm_eps": config.get("layer_norm_epsilon"),
        "rope_theta": config.get("rotary_emb_base"),
    }
    found = llama_like.describe(llama, "partial_rotary_factor", partial=True)
    bias = not typed(config, "no_bias", bool, True)
    found = llama_like.each_attention(found, bias=True, output_bias=bias)
    found = llama_like.each_feedforward(found, bias=bias)
    found = replace(found, embedding=EmbeddingSettings(dropout=typed(config, "emb_dropout_prob", float, 0.0)))
    on = [key for key in LONGER if typed(config, key, bool, True)]
    if on and found.rope is not None:
        found = replace(found, rope=RopeSettings(found.rope.base, Within(length, " and ".join(on))))
    return found


def rules(config: Mapping[str, Any]) -> list[Rule]:
    """How the published code names the tensors."""
    settings = describe(config)
    found = [same("transformer.wte.weight", "embedding.weight"), same("transformer.ln_f.weight", "norm.weight")]
    rows = stacked(*[settings.width] * len(PARTS))
    for layer, block in enumerate(settings.blocks):
        theirs, ours = f"transformer.h.{layer}", f"blocks.{layer}"
        for kind in ("weight", "bias"):
            parts = tuple(f"{ours}.attention.{part}.{kind}" for part in PARTS)
            found.append(Rule((f"{theirs}.attn.c_attn.{kind}",), parts, rows))
        found += [
            same(f"{theirs}.ln_1.weight", f"{ours}.attention_norm.weight"),
            same(f"{theirs}.ln_2.weight", f"{ours}.feedforward_norm.weight"),
        ]
        linears = {"attn.c_proj": "attention.output", "mlp.w2": "feedforward.gate", "mlp.w1": "feedforward.up"}
        for name, own in (linears | {"mlp.c_proj": "feedforward.down"}).items():
            found += llama_like.linear(f"{theirs}.{name}", f"{ours}.{own}", block.feedforward.bias)
    return found if settings.tied else [*found, same("lm_head.weight", "head.weight")]


def copies(config: Mapping[str, Any]) -> dict[str, str]:
    """The output matrix of a tied model, which some files repeat."""
    return {"lm_head.weight": "transformer.wte.weight"} if config.get("tie_word_embeddings") else {}


def ignored(config: Mapping[str, Any]) -> frozenset[str]:
    """Tables of rotary frequencies that early files hold."""
    layers = range(config["num_hidden_layers"])
    places = ["transformer", *(f"transformer.h.{layer}.attn" for layer in layers)]
    return frozenset(f"{place}.rotary_emb.inv_freq" for place in places)


def fresh(settings: ModelSettings, vocab_size: int, special: Special) -> dict[str, Any]:
    """The config.json of a fresh Qwen 1."""
    sizes = llama_like.fresh(settings, vocab_size, special)
    width, heads = even_heads(settings)
    return common(settings, vocab_size, special, tied=True) | {
        "architectures": ["QWenLMHeadModel"],
        "attn_dropout_prob": sizes["attention_dropout"],
        "emb_dropout_prob": 0.0,
        "hidden_size": width,
        "intermediate_size": 2 * sizes["intermediate_size"],
        "kv_channels": width // heads,
        "layer_norm_epsilon": sizes["rms_norm_eps"],
        "max_position_embeddings": sizes["max_position_embeddings"],
        "model_type": "qwen",
        "no_bias": True,
        "num_attention_heads": heads,
        "num_hidden_layers": sizes["num_hidden_layers"],
        "rotary_emb_base": sizes["rope_theta"],
        "rotary_pct": 1.0,
        "scale_attn_weights": True,
        "seq_length": sizes["max_position_embeddings"],
        "use_dynamic_ntk": False,
        "use_logn_attn": False,
    }


FAMILY = Family(
    honoured=HONOURED,
    config=fresh,
    build=lambda config: llama_like.built(describe(config), config),
    rules=rules,
    ignored=ignored,
    copies=copies,
)
