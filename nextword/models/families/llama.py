"""Llama: pre-norm decoder with RMSNorm, rotary positions, grouped-query attention and a gated feed-forward.

Touvron et al., "LLaMA" (2023) and "Llama 2" (2023); Grattafiori et al., "The Llama 3 Herd of Models" (2024). Read and
written as transformers' `LlamaForCausalLM` does.
"""

from collections.abc import Mapping
from typing import Any

from nextword.core.errors import CheckpointError, SettingsError
from nextword.models.family import Family, Special, check_keys, known_activation, required, typed
from nextword.models.rope_config import KEYS as ROPE_KEYS
from nextword.models.rope_config import read_rope
from nextword.models.settings import ModelSettings
from nextword.models.transformer import Transformer, TransformerSettings
from nextword.models.weights import Rule, same
from nextword.nn.attention import AttentionSettings
from nextword.nn.block import BlockSettings
from nextword.nn.feedforward import FeedForwardSettings
from nextword.nn.init import STANDARD_DEVIATION
from nextword.nn.norm import NormSettings
from nextword.nn.position.rope import DynamicNTK

_KEYS = """
    attention_bias attention_dropout head_dim hidden_act hidden_size intermediate_size max_position_embeddings mlp_bias
    num_attention_heads num_hidden_layers num_key_value_heads rms_norm_eps rope_interleaved tie_word_embeddings
    vocab_size
"""
KEYS = ROPE_KEYS | frozenset(_KEYS.split())
_HONOURED = "width depth heads kv_heads head_width ffn_width max_length tied rope_base norm_eps dropout"
FFN_MULTIPLE = 64  # fresh feed-forwards are rounded up to it: matrix products like round numbers
HEAD_WIDTH = 64


def describe(config: Mapping[str, Any]) -> TransformerSettings:
    """Our description of the blocks from a config.json; CheckpointError naming the key that is wrong or unknown."""
    check_keys(config, KEYS)
    if config.get("rope_interleaved"):
        raise CheckpointError("config.json: rope_interleaved = true is not known to model_type 'llama'")
    width, heads = required(config, "hidden_size", int), required(config, "num_attention_heads", int)
    kv_heads = typed(config, "num_key_value_heads", int, heads)
    head_width = typed(config, "head_dim", int, width // heads)
    if heads % kv_heads or head_width % 2:
        raise CheckpointError(
            f"config.json: num_attention_heads {heads} must be a multiple of num_key_value_heads {kv_heads}, "
            f"and head_dim {head_width} even"
        )
    activation = known_activation(config, "hidden_act", "silu")
    norm = NormSettings(width, typed(config, "rms_norm_eps", float, 1e-6))
    dropout = typed(config, "attention_dropout", float, 0.0)
    bias = typed(config, "attention_bias", bool, False)
    ffn_bias = typed(config, "mlp_bias", bool, False)
    ffn = FeedForwardSettings(width, required(config, "intermediate_size", int), activation, ffn_bias)
    block = BlockSettings(norm, AttentionSettings(width, heads, kv_heads, head_width, bias, dropout), ffn)
    max_length = typed(config, "max_position_embeddings", int, 2048)
    rope = read_rope(config, max_length)
    if isinstance(rope.scaling, DynamicNTK):
        max_length = int(max_length * rope.scaling.factor)
    return TransformerSettings(
        vocab_size=required(config, "vocab_size", int),
        width=width,
        max_length=max_length,
        blocks=(block,) * required(config, "num_hidden_layers", int),
        norm=norm,
        rope=rope,
        tied=typed(config, "tie_word_embeddings", bool, False),
    )


def build(config: dict[str, Any]) -> Transformer:
    """The model that a config.json describes."""
    return Transformer(describe(config), config)


def rules(config: Mapping[str, Any]) -> list[Rule]:
    """How transformers names the tensors."""
    found = [same("model.embed_tokens.weight", "embedding.weight"), same("model.norm.weight", "norm.weight")]
    linears = [
        (f"self_attn.{x[0]}_proj", f"attention.{x}", "attention_bias") for x in ("query", "key", "value", "output")
    ]
    linears += [(f"mlp.{x}_proj", f"feedforward.{x}", "mlp_bias") for x in ("gate", "up", "down")]
    for layer in range(config["num_hidden_layers"]):
        theirs, ours = f"model.layers.{layer}", f"blocks.{layer}"
        found.append(same(f"{theirs}.input_layernorm.weight", f"{ours}.attention_norm.weight"))
        found.append(same(f"{theirs}.post_attention_layernorm.weight", f"{ours}.feedforward_norm.weight"))
        for their_name, our_name, bias in linears:
            found.append(same(f"{theirs}.{their_name}.weight", f"{ours}.{our_name}.weight"))
            if config.get(bias):
                found.append(same(f"{theirs}.{their_name}.bias", f"{ours}.{our_name}.bias"))
    if not config.get("tie_word_embeddings"):
        found.append(same("lm_head.weight", "head.weight"))
    return found


def ignored(config: Mapping[str, Any]) -> frozenset[str]:
    """Tables of rotary frequencies that early files hold; they follow from the config."""
    return frozenset(f"model.layers.{n}.self_attn.rotary_emb.inv_freq" for n in range(config["num_hidden_layers"]))


def copies(config: Mapping[str, Any]) -> dict[str, str]:
    """The output matrix of a tied model, which some files repeat."""
    return {"lm_head.weight": "model.embed_tokens.weight"} if config.get("tie_word_embeddings") else {}


def fresh(settings: ModelSettings, vocab_size: int, special: Special) -> dict[str, Any]:
    """The config.json of a fresh Llama, in transformers' layout."""
    width = settings.width or 256
    heads = settings.heads or max(1, width // HEAD_WIDTH)
    kv_heads = settings.kv_heads or heads
    head_width = settings.head_width or width // heads
    if width % heads or heads % kv_heads or head_width % 2:
        raise SettingsError(
            f"model.heads {heads} must divide model.width {width}, model.kv_heads {kv_heads} must divide model.heads, "
            f"and model.head_width {head_width} must be even"
        )
    base = settings.rope_base or 10_000.0
    return {
        "architectures": ["LlamaForCausalLM"],
        "attention_bias": False,
        "attention_dropout": settings.dropout or 0.0,
        "bos_token_id": special.bos_id,
        "dtype": "float32",
        "eos_token_id": special.eos_id,
        "head_dim": head_width,
        "hidden_act": "silu",
        "hidden_size": width,
        "initializer_range": STANDARD_DEVIATION,
        "intermediate_size": settings.ffn_width or -(-8 * width // (3 * FFN_MULTIPLE)) * FFN_MULTIPLE,
        "max_position_embeddings": settings.max_length or 512,
        "mlp_bias": False,
        "model_type": "llama",
        "num_attention_heads": heads,
        "num_hidden_layers": settings.depth or 4,
        "num_key_value_heads": kv_heads,
        "pad_token_id": special.pad_id,
        "rms_norm_eps": 1e-5 if settings.norm_eps is None else settings.norm_eps,
        "rope_parameters": {"rope_theta": base, "rope_type": "default"},
        "rope_theta": base,  # for readers of the older layout
        "tie_word_embeddings": True if settings.tied is None else settings.tied,
        "use_cache": True,
        "vocab_size": vocab_size,
    }


FAMILY = Family(
    honoured=frozenset(_HONOURED.split()),
    config=fresh,
    build=build,
    rules=rules,
    ignored=ignored,
    copies=copies,
)
