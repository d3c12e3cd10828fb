"""Phi: decoder whose attention and feed-forward stand side by side behind one norm, with biases everywhere.

Gunasekar et al., "Textbooks Are All You Need" (2023); Li et al., "phi-1.5" (2023); Phi-2 (Microsoft, 2023). Read and
written as transformers' `PhiForCausalLM` does.
"""

from collections.abc import Mapping
from typing import Any

from nextword.core.errors import SettingsError
from nextword.models.decoder_tasks import with_tasks
from nextword.models.family import Family, Special, check_keys, divided, known_activation, required, typed
from nextword.models.fresh import DEPTH, LENGTH, common, even_heads
from nextword.models.rope_config import DEFAULT_BASE, PARTIAL, longest, read_rope, rotary_width
from nextword.models.rope_config import KEYS as ROPE_KEYS
from nextword.models.settings import ModelSettings
from nextword.models.transformer import Transformer, TransformerSettings
from nextword.models.weights import Rule, pair, same
from nextword.nn.attention import AttentionSettings
from nextword.nn.block import BlockSettings
from nextword.nn.embedding import EmbeddingSettings
from nextword.nn.feedforward import FeedForwardSettings
from nextword.nn.head import HeadSettings
from nextword.nn.norm import NormSettings

_KEYS = """
    attention_dropout embd_pdrop hidden_act hidden_size intermediate_size layer_norm_eps max_position_embeddings
    num_attention_heads num_hidden_layers num_key_value_heads partial_rotary_factor qk_layernorm resid_pdrop
    tie_word_embeddings vocab_size
"""
KEYS = ROPE_KEYS | frozenset(_KEYS.split())
_HONOURED = "width depth heads kv_heads ffn_width max_length tied rope_base norm_eps dropout"
SHARE = 0.5  # of a head's coordinates turns


def describe(config: Mapping[str, Any]) -> TransformerSettings:
    """Our description of the blocks from a config.json; CheckpointError naming the key that is wrong or unknown."""
    check_keys(config, KEYS)
    width, heads = required(config, "hidden_size", int), required(config, "num_attention_heads", int)
    head_width = divided(width, heads, ("hidden_size", "num_attention_heads"))
    kv_heads = typed(config, "num_key_value_heads", int, heads)
    divided(heads, kv_heads, ("num_attention_heads", "num_key_value_heads"))
    epsilon = typed(config, "layer_norm_eps", float, 1e-5)
    norm = NormSettings(width, epsilon, "layer")
    activation = known_activation(config, "hidden_act", "gelu_new")
    attention = AttentionSettings(
        **{"width": width, "heads": heads, "kv_heads": kv_heads, "head_width": head_width, "bias": True},
        dropout=typed(config, "attention_dropout", float, 0.0),
        qk_norm=NormSettings(head_width, epsilon, "layer") if typed(config, "qk_layernorm", bool, False) else None,
        rotary_width=rotary_width(config, head_width, SHARE),
    )
    ffn = FeedForwardSettings(width, required(config, "intermediate_size", int), activation, bias=True, gated=False)
    block = BlockSettings(norm, attention, ffn, "parallel-shared", dropout=typed(config, "resid_pdrop", float, 0.0))
    max_length = typed(config, "max_position_embeddings", int, 2048)
    rope = read_rope(config, max_length, partial=True)
    return TransformerSettings(
        blocks=(block,) * required(config, "num_hidden_layers", int),
        norm=norm,
        rope=rope,
        vocab_size=required(config, "vocab_size", int),
        width=width,
        max_length=longest(rope, max_length),
        tied=typed(config, "tie_word_embeddings", bool, False),
        embedding=EmbeddingSettings(dropout=typed(config, "embd_pdrop", float, 0.0)),
        head=HeadSettings(bias=True),
    )


def build(config: dict[str, Any]) -> Transformer:
    """The model that a config.json describes."""
    return Transformer(describe(config), config)


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
    if not config.get("tie_word_embeddings"):
        found.append(same("lm_head.weight", "head.weight"))
    return [*found, same("lm_head.bias", "head.bias")]


def copies(config: Mapping[str, Any]) -> dict[str, str]:
    """The output matrix of a tied model, which some files repeat."""
    return {"lm_head.weight": "model.embed_tokens.weight"} if config.get("tie_word_embeddings") else {}


def fresh(settings: ModelSettings, vocab_size: int, special: Special) -> dict[str, Any]:
    """The config.json of a fresh Phi, in transformers' layout."""
    width, heads = even_heads(settings)
    kv_heads = settings.kv_heads or heads
    divided(heads, kv_heads, ("model.heads", "model.kv_heads"), SettingsError)
    base, dropout = settings.rope_base or DEFAULT_BASE, settings.dropout or 0.0
    share = SHARE if int(width // heads * SHARE) % 2 == 0 else 1.0
    return common(settings, vocab_size, special, tied=False) | {
        "architectures": ["PhiForCausalLM"],
        "attention_dropout": dropout,
        "embd_pdrop": dropout,
        "hidden_act": "gelu_new",
        "hidden_size": width,
        "intermediate_size": settings.ffn_width or 4 * width,
        "layer_norm_eps": 1e-5 if settings.norm_eps is None else settings.norm_eps,
        "max_position_embeddings": settings.max_length or LENGTH,
        "model_type": "phi",
        "num_attention_heads": heads,
        "num_hidden_layers": settings.depth or DEPTH,
        "num_key_value_heads": kv_heads,
        PARTIAL: share,  # this and rope_theta for readers of the older layout
        "qk_layernorm": False,
        "resid_pdrop": dropout,
        "rope_parameters": {PARTIAL: share, "rope_theta": base, "rope_type": "default"},
        "rope_theta": base,
    }


FAMILY = with_tasks(
    Family(honoured=frozenset(_HONOURED.split()), config=fresh, build=build, rules=rules, copies=copies), "model."
)
