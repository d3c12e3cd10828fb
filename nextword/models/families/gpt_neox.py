"""GPT-NeoX: decoder whose attention and feed-forward read the same stream side by side; part of each head turns.

Black et al., "GPT-NeoX-20B" (2022); Biderman et al., "Pythia" (2023). Read and written as transformers'
`GPTNeoXForCausalLM` does, which keeps queries, keys and values in one matrix, head by head.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from nextword.models import gpt_like
from nextword.models.family import Special, aliased, check_keys, required, typed
from nextword.models.fused import grouped, grouped_rules
from nextword.models.llama_like import each_attention, each_block
from nextword.models.rope_config import KEYS as ROPE_KEYS
from nextword.models.rope_config import PARTIAL
from nextword.models.settings import ModelSettings
from nextword.models.transformer import TransformerSettings
from nextword.models.weights import Rule, pair, same

_KEYS = """
    attention_bias attention_dropout classifier_dropout hidden_act hidden_dropout hidden_size intermediate_size
    is_decoder layer_norm_eps max_position_embeddings num_attention_heads num_hidden_layers partial_rotary_factor
    tie_word_embeddings use_parallel_residual vocab_size
"""  # is_decoder: it is one whatever this says
KEYS = ROPE_KEYS | frozenset(_KEYS.split())
ALIASES = {"rotary_emb_base": "rope_theta", "rotary_pct": PARTIAL}
NAMES = replace(gpt_like.LATER, dropout="hidden_dropout", embedding_dropout="hidden_dropout", usual_activation="gelu")
SHARE = 0.25  # of a head's coordinates turns


def describe(config: Mapping[str, Any]) -> TransformerSettings:
    """Our description of the blocks from a config.json; CheckpointError naming the key that is wrong or unknown."""
    config = aliased(config, ALIASES)
    check_keys(config, KEYS)
    required(config, NAMES.inner, int)
    found = gpt_like.turned(gpt_like.describe(config, NAMES, tied=False), config, SHARE)
    found = each_attention(found, bias=typed(config, "attention_bias", bool, True))
    return each_block(found, arrangement="parallel" if typed(config, "use_parallel_residual", bool, True) else "pre")


def rules(config: Mapping[str, Any]) -> list[Rule]:
    """How transformers names the tensors."""
    heads = config["num_attention_heads"]
    kinds = ("weight", "bias") if config.get("attention_bias", True) else ("weight",)
    found = [same("gpt_neox.embed_in.weight", "embedding.weight"), *pair("gpt_neox.final_layer_norm", "norm")]
    for layer in range(config["num_hidden_layers"]):
        theirs, ours = f"gpt_neox.layers.{layer}", f"blocks.{layer}"
        fused = f"{theirs}.attention.query_key_value"
        found += [
            *grouped_rules(fused, f"{ours}.attention", grouped(heads, heads), kinds),
            *(same(f"{theirs}.attention.dense.{kind}", f"{ours}.attention.output.{kind}") for kind in kinds),
            *pair(f"{theirs}.input_layernorm", f"{ours}.attention_norm"),
            *pair(f"{theirs}.post_attention_layernorm", f"{ours}.feedforward_norm"),
            *pair(f"{theirs}.mlp.dense_h_to_4h", f"{ours}.feedforward.up"),
            *pair(f"{theirs}.mlp.dense_4h_to_h", f"{ours}.feedforward.down"),
        ]
    return found


def older(names: Iterable[str], config: Mapping[str, Any]) -> dict[str, str]:
    """The output matrix under the name that it has in transformers' code."""
    return {"lm_head.weight": "embed_out.weight"} if "lm_head.weight" in names else {}


def ignored(config: Mapping[str, Any]) -> frozenset[str]:
    """Causal masks and rotary frequencies that early files hold."""
    layers = range(config["num_hidden_layers"])
    tables = ("bias", "masked_bias", "rotary_emb.inv_freq")
    return frozenset(f"gpt_neox.layers.{layer}.attention.{name}" for layer in layers for name in tables)


def fresh(settings: ModelSettings, vocab_size: int, special: Special) -> dict[str, Any]:
    """The config.json of a fresh GPT-NeoX, in transformers' layout."""
    config = gpt_like.fresh(settings, vocab_size, special, NAMES, tied=False, rotary=True)
    rope = gpt_like.fresh_rope(settings, config["hidden_size"] // config["num_attention_heads"], SHARE)
    return config | {
        "architectures": ["GPTNeoXForCausalLM"],
        "attention_bias": True,
        "intermediate_size": settings.ffn_width or 4 * config["hidden_size"],
        "model_type": "gpt_neox",
        "rope_parameters": rope,
        "rotary_emb_base": rope["rope_theta"],  # this and the next for readers of the older layout
        "rotary_pct": rope[PARTIAL],
        "use_parallel_residual": True,
    }


FAMILY = gpt_like.gpt_like(
    *(describe, fresh, rules, "gpt_neox.", "embed_in.weight"),
    output="embed_out.weight",
    honoured=gpt_like.HONOURED | {"rope_base"},
    tokens="classifier",
    ignored=ignored,
    older=older,
)
