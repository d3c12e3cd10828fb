"""GPT-NeoX: decoder whose attention and feed-forward read the same stream side by side; part of each head turns.

Black et al., "GPT-NeoX-20B" (2022); Biderman et al., "Pythia" (2023). Read and written as transformers'
`GPTNeoXForCausalLM` does, which keeps queries, keys and values in one matrix, head by head.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from nextword.models.decoder_tasks import with_tasks
from nextword.models.family import Family, Special, aliased, check_keys, divided, known_activation, required, typed
from nextword.models.fresh import DEPTH, LENGTH, common, even_heads
from nextword.models.fused import grouped, grouped_rules
from nextword.models.rope_config import DEFAULT_BASE, PARTIAL, longest, read_rope, rotary_width
from nextword.models.rope_config import KEYS as ROPE_KEYS
from nextword.models.settings import ModelSettings
from nextword.models.transformer import Transformer, TransformerSettings
from nextword.models.weights import Rule, pair, same
from nextword.nn.attention import AttentionSettings
from nextword.nn.block import BlockSettings
from nextword.nn.embedding import EmbeddingSettings
from nextword.nn.feedforward import FeedForwardSettings
from nextword.nn.norm import NormSettings

_KEYS = """
    attention_bias attention_dropout classifier_dropout hidden_act hidden_dropout hidden_size intermediate_size
    is_decoder layer_norm_eps max_position_embeddings num_attention_heads num_hidden_layers partial_rotary_factor
    tie_word_embeddings use_parallel_residual vocab_size
"""  # is_decoder: it is one whatever this says
KEYS = ROPE_KEYS | frozenset(_KEYS.split())
ALIASES = {"rotary_emb_base": "rope_theta", "rotary_pct": PARTIAL}
_HONOURED = "width depth heads ffn_width max_length tied rope_base norm_eps dropout"
SHARE = 0.25  # of a head's coordinates turns


def describe(config: Mapping[str, Any]) -> TransformerSettings:
    """Our description of the blocks from a config.json; CheckpointError naming the key that is wrong or unknown."""
    config = aliased(config, ALIASES)
    check_keys(config, KEYS)
    width, heads = required(config, "hidden_size", int), required(config, "num_attention_heads", int)
    head_width = divided(width, heads, ("hidden_size", "num_attention_heads"))
    norm = NormSettings(width, typed(config, "layer_norm_eps", float, 1e-5), "layer")
    activation = known_activation(config, "hidden_act", "gelu")
    drop = typed(config, "hidden_dropout", float, 0.0)
    attention = AttentionSettings(
        **{"width": width, "heads": heads, "kv_heads": heads, "head_width": head_width},
        bias=typed(config, "attention_bias", bool, True),
        dropout=typed(config, "attention_dropout", float, 0.0),
        rotary_width=rotary_width(config, head_width, SHARE),
    )
    ffn = FeedForwardSettings(width, required(config, "intermediate_size", int), activation, bias=True, gated=False)
    arrangement = "parallel" if typed(config, "use_parallel_residual", bool, True) else "pre"
    block = BlockSettings(norm, attention, ffn, arrangement, dropout=drop)
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
        embedding=EmbeddingSettings(dropout=drop),
    )


def build(config: dict[str, Any]) -> Transformer:
    """The model that a config.json describes."""
    return Transformer(describe(config), config)


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
    if not config.get("tie_word_embeddings"):
        found.append(same("embed_out.weight", "head.weight"))
    return found


def older(names: Iterable[str], config: Mapping[str, Any]) -> dict[str, str]:
    """The output matrix under the name that it has in transformers' code."""
    return {"lm_head.weight": "embed_out.weight"} if "lm_head.weight" in names else {}


def ignored(config: Mapping[str, Any]) -> frozenset[str]:
    """Causal masks and rotary frequencies that early files hold."""
    layers = range(config["num_hidden_layers"])
    tables = ("bias", "masked_bias", "rotary_emb.inv_freq")
    return frozenset(f"gpt_neox.layers.{layer}.attention.{name}" for layer in layers for name in tables)


def copies(config: Mapping[str, Any]) -> dict[str, str]:
    """The output matrix of a tied model, which some files repeat."""
    return {"embed_out.weight": "gpt_neox.embed_in.weight"} if config.get("tie_word_embeddings") else {}


def fresh(settings: ModelSettings, vocab_size: int, special: Special) -> dict[str, Any]:
    """The config.json of a fresh GPT-NeoX, in transformers' layout."""
    width, heads = even_heads(settings)
    share = SHARE if int(width // heads * SHARE) % 2 == 0 else 1.0
    base, dropout = settings.rope_base or DEFAULT_BASE, settings.dropout or 0.0
    return common(settings, vocab_size, special, tied=False) | {
        "architectures": ["GPTNeoXForCausalLM"],
        "attention_bias": True,
        "attention_dropout": dropout,
        "hidden_act": "gelu",
        "hidden_dropout": dropout,
        "hidden_size": width,
        "intermediate_size": settings.ffn_width or 4 * width,
        "layer_norm_eps": 1e-5 if settings.norm_eps is None else settings.norm_eps,
        "max_position_embeddings": settings.max_length or LENGTH,
        "model_type": "gpt_neox",
        "num_attention_heads": heads,
        "num_hidden_layers": settings.depth or DEPTH,
        "rope_parameters": {PARTIAL: share, "rope_theta": base, "rope_type": "default"},
        "rotary_emb_base": base,  # this and the next for readers of the older layout
        "rotary_pct": share,
        "use_parallel_residual": True,
    }


FAMILY = with_tasks(
    Family(
        honoured=frozenset(_HONOURED.split()),
        config=fresh,
        build=build,
        rules=rules,
        ignored=ignored,
        copies=copies,
        older=older,
    ),
    "gpt_neox.",
    tokens="classifier",
)
