"""BLOOM: decoder without positions but for ALiBi, with a norm behind the embedding.

Le Scao et al., "BLOOM: A 176B-Parameter Open-Access Multilingual Language Model" (2022). Read and written as
transformers' `BloomForCausalLM` does, which keeps queries, keys and values in one matrix, head by head.
"""

from collections.abc import Mapping
from typing import Any

from nextword.core.errors import CheckpointError
from nextword.models.decoder_tasks import with_tasks
from nextword.models.families.gpt2 import BASE
from nextword.models.family import Family, Special, aliased, check_keys, check_value, divided, required, typed
from nextword.models.fresh import DEPTH, LENGTH, common, width_and_heads
from nextword.models.fused import grouped, grouped_rules
from nextword.models.settings import ModelSettings
from nextword.models.transformer import Transformer, TransformerSettings
from nextword.models.weights import Rule, pair, same
from nextword.nn.attention import AttentionSettings
from nextword.nn.block import BlockSettings
from nextword.nn.embedding import EmbeddingSettings
from nextword.nn.feedforward import FeedForwardSettings
from nextword.nn.norm import NormSettings
from nextword.nn.position.relative import AlibiSettings

_KEYS = """
    apply_residual_connection_post_layernorm attention_dropout attention_softmax_in_fp32 bias_dropout_fusion
    gradient_checkpointing hidden_dropout hidden_size layer_norm_epsilon masked_softmax_fusion n_head n_inner n_layer
    offset_alibi seq_length skip_bias_add skip_bias_add_qkv slow_but_exact tie_word_embeddings unk_token_id vocab_size
"""  # ..._fusion, skip_..., ..._in_fp32, offset_alibi: how BLOOM was trained, not what is computed
KEYS = frozenset(_KEYS.split())
ALIASES = {"n_embed": "hidden_size", "num_attention_heads": "n_head", "num_hidden_layers": "n_layer"}
_HONOURED = "width depth heads max_length tied norm_eps dropout"


def describe(config: Mapping[str, Any]) -> TransformerSettings:
    """Our description of the blocks from a config.json; CheckpointError naming the key that is wrong or unknown."""
    config = aliased(config, ALIASES)
    check_keys(config, KEYS)
    if config.get("slow_but_exact") and config.get("pretraining_tp", 1) > 1:
        raise CheckpointError(
            "config.json: slow_but_exact with pretraining_tp above 1 leaves out biases in transformers, which nextword "
            "does not: set it to false"
        )
    width, heads = required(config, "hidden_size", int), required(config, "n_head", int)
    head_width = divided(width, heads, ("hidden_size", "n_head"))
    if config.get("n_inner") is not None:
        check_value(config, "n_inner", 4 * width)
    norm = NormSettings(width, typed(config, "layer_norm_epsilon", float, 1e-5), "layer")
    attention = AttentionSettings(
        **{"width": width, "heads": heads, "kv_heads": heads, "head_width": head_width, "bias": True},
        dropout=typed(config, "attention_dropout", float, 0.0),
        rotary=False,
    )
    ffn = FeedForwardSettings(width, 4 * width, "gelu_new", bias=True, gated=False)
    restarted = typed(config, "apply_residual_connection_post_layernorm", bool, False)
    drop = typed(config, "hidden_dropout", float, 0.0)
    return TransformerSettings(
        blocks=(BlockSettings(norm, attention, ffn, "restarted" if restarted else "pre", dropout=drop),)
        * required(config, "n_layer", int),
        norm=norm,
        bias=AlibiSettings(heads),
        vocab_size=required(config, "vocab_size", int),
        width=width,
        max_length=typed(config, "seq_length", int, None),
        tied=typed(config, "tie_word_embeddings", bool, True),
        embedding=EmbeddingSettings(norm=norm),
    )


def build(config: dict[str, Any]) -> Transformer:
    """The model that a config.json describes."""
    return Transformer(describe(config), config)


def rules(config: Mapping[str, Any]) -> list[Rule]:
    """How transformers names the tensors."""
    config = aliased(config, ALIASES)
    split = grouped(config["n_head"], config["n_head"])
    found = [
        same(f"{BASE}word_embeddings.weight", "embedding.weight"),
        *pair(f"{BASE}word_embeddings_layernorm", "embedding.norm"),
        *pair(f"{BASE}ln_f", "norm"),
    ]
    for layer in range(config["n_layer"]):
        theirs, ours = f"{BASE}h.{layer}", f"blocks.{layer}"
        found += [
            *grouped_rules(f"{theirs}.self_attention.query_key_value", f"{ours}.attention", split, ("weight", "bias")),
            *pair(f"{theirs}.self_attention.dense", f"{ours}.attention.output"),
            *pair(f"{theirs}.input_layernorm", f"{ours}.attention_norm"),
            *pair(f"{theirs}.post_attention_layernorm", f"{ours}.feedforward_norm"),
            *pair(f"{theirs}.mlp.dense_h_to_4h", f"{ours}.feedforward.up"),
            *pair(f"{theirs}.mlp.dense_4h_to_h", f"{ours}.feedforward.down"),
        ]
    if config.get("tie_word_embeddings") is False:
        found.append(same("lm_head.weight", "head.weight"))
    return found


def copies(config: Mapping[str, Any]) -> dict[str, str]:
    """The output matrix of a tied model, which some files repeat."""
    return {} if config.get("tie_word_embeddings") is False else {"lm_head.weight": f"{BASE}word_embeddings.weight"}


def fresh(settings: ModelSettings, vocab_size: int, special: Special) -> dict[str, Any]:
    """The config.json of a fresh BLOOM, in transformers' layout; `seq_length` is as in BigScience's own."""
    width, heads = width_and_heads(settings)
    dropout = settings.dropout or 0.0
    return common(settings, vocab_size, special, tied=True) | {
        "apply_residual_connection_post_layernorm": False,
        "architectures": ["BloomForCausalLM"],
        "attention_dropout": dropout,
        "hidden_dropout": dropout,
        "hidden_size": width,
        "layer_norm_epsilon": 1e-5 if settings.norm_eps is None else settings.norm_eps,
        "model_type": "bloom",
        "n_head": heads,
        "n_layer": settings.depth or DEPTH,
        "seq_length": settings.max_length or LENGTH,
    }


FAMILY = with_tasks(
    Family(honoured=frozenset(_HONOURED.split()), config=fresh, build=build, rules=rules, copies=copies),
    BASE,
    tokens="classifier",
)
