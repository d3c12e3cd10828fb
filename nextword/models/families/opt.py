"""OPT: GPT-3 rebuilt in the open: learned positions, ReLU, the norm before each part, or behind in the one of 350M.

Zhang et al., "OPT: Open Pre-trained Transformer Language Models" (2022). Positions begin at row 2 of their table, a
relic of its code. OPT-350M has embeddings narrower than the stream, with a matrix behind and one before the output.
Read and written as transformers' `OPTForCausalLM` does.
"""

from collections.abc import Mapping
from typing import Any

from nextword.models.decoder_tasks import with_tasks
from nextword.models.family import Family, Special, check_keys, check_value, divided, known_activation, required, typed
from nextword.models.fresh import DEPTH, LENGTH, common, width_and_heads
from nextword.models.settings import ModelSettings
from nextword.models.transformer import Transformer, TransformerSettings
from nextword.models.weights import Rule, pair, same
from nextword.nn.attention import AttentionSettings
from nextword.nn.block import BlockSettings
from nextword.nn.embedding import EmbeddingSettings
from nextword.nn.feedforward import FeedForwardSettings
from nextword.nn.head import HeadSettings
from nextword.nn.init import STANDARD_DEVIATION
from nextword.nn.norm import NormSettings

_KEYS = """
    activation_dropout activation_function attention_dropout do_layer_norm_before dropout enable_bias ffn_dim
    hidden_size init_std layer_norm_elementwise_affine layerdrop max_position_embeddings num_attention_heads
    num_hidden_layers tie_word_embeddings vocab_size word_embed_proj_dim
"""
KEYS = frozenset(_KEYS.split())
UNNORMED_END = "_remove_final_layer_norm"  # of models tuned with early code
_HONOURED = "width depth heads ffn_width max_length tied dropout"
SKIPPED = 2  # rows of the table of positions before the first
BASE = "model.decoder."


def last_norm(config: Mapping[str, Any]) -> bool:
    """Whether there is a norm behind the last block."""
    return typed(config, "do_layer_norm_before", bool, True) and not typed(config, UNNORMED_END, bool, False)


def token_width(config: Mapping[str, Any]) -> int | None:
    """The width of the tokens' vectors; None where it is the stream's."""
    width: int = required(config, "hidden_size", int)
    found: int = typed(config, "word_embed_proj_dim", int, width)
    return None if found == width else found


def describe(config: Mapping[str, Any]) -> TransformerSettings:
    """Our description of the blocks from a config.json; CheckpointError naming the key that is wrong or unknown."""
    check_keys(config, KEYS)
    for key in ("activation_dropout", "layerdrop"):
        check_value(config, key, 0.0)
    width, heads = required(config, "hidden_size", int), required(config, "num_attention_heads", int)
    head_width = divided(width, heads, ("hidden_size", "num_attention_heads"))
    affine = typed(config, "layer_norm_elementwise_affine", bool, True)
    norm = NormSettings(width, 1e-5, "layer" if affine else "bare layer")
    bias, drop = typed(config, "enable_bias", bool, True), typed(config, "dropout", float, 0.1)
    attention = AttentionSettings(
        **{"width": width, "heads": heads, "kv_heads": heads, "head_width": head_width, "bias": bias},
        dropout=typed(config, "attention_dropout", float, 0.0),
        rotary=False,
    )
    activation = known_activation(config, "activation_function", "relu")
    ffn = FeedForwardSettings(width, required(config, "ffn_dim", int), activation, bias, gated=False)
    arrangement = "pre" if typed(config, "do_layer_norm_before", bool, True) else "post"
    max_length, tokens = typed(config, "max_position_embeddings", int, 2048), token_width(config)
    return TransformerSettings(
        blocks=(BlockSettings(norm, attention, ffn, arrangement, dropout=drop),)
        * required(config, "num_hidden_layers", int),
        norm=norm if last_norm(config) else None,
        vocab_size=required(config, "vocab_size", int),
        width=width,
        max_length=max_length,
        tied=typed(config, "tie_word_embeddings", bool, True),
        embedding=EmbeddingSettings("learned", max_length + SKIPPED, skipped=SKIPPED, tokens=tokens),
        head=HeadSettings(narrow=tokens),
    )


def build(config: dict[str, Any]) -> Transformer:
    """The model that a config.json describes."""
    return Transformer(describe(config), config)


def rules(config: Mapping[str, Any]) -> list[Rule]:
    """How transformers names the tensors."""
    kinds = ("weight", "bias") if config.get("enable_bias", True) else ("weight",)
    norms = {"self_attn_layer_norm": "attention_norm", "final_layer_norm": "feedforward_norm"}
    linears = {f"self_attn.{x}_proj": f"attention.{y}" for x, y in zip("qkv", ("query", "key", "value"), strict=True)}
    linears |= {"self_attn.out_proj": "attention.output", "fc1": "feedforward.up", "fc2": "feedforward.down"}
    found = [
        same(f"{BASE}embed_tokens.weight", "embedding.weight"),
        same(f"{BASE}embed_positions.weight", "embedding.positions.weight"),
    ]
    if token_width(config) is not None:
        found.append(same(f"{BASE}project_in.weight", "embedding.lift.weight"))
        found.append(same(f"{BASE}project_out.weight", "head.prepare.weight"))
    affine = config.get("layer_norm_elementwise_affine", True)
    if affine and last_norm(config):
        found += pair(f"{BASE}final_layer_norm", "norm")
    for layer in range(config["num_hidden_layers"]):
        theirs, ours = f"{BASE}layers.{layer}", f"blocks.{layer}"
        found += [same(f"{theirs}.{x}.{kind}", f"{ours}.{y}.{kind}") for x, y in linears.items() for kind in kinds]
        for their_name, our_name in norms.items() if affine else ():
            found += pair(f"{theirs}.{their_name}", f"{ours}.{our_name}")
    if config.get("tie_word_embeddings") is False:
        found.append(same("lm_head.weight", "head.weight"))
    return found


def copies(config: Mapping[str, Any]) -> dict[str, str]:
    """The output matrix of a tied model, which some files repeat."""
    return {} if config.get("tie_word_embeddings") is False else {"lm_head.weight": f"{BASE}embed_tokens.weight"}


def fresh(settings: ModelSettings, vocab_size: int, special: Special) -> dict[str, Any]:
    """The config.json of a fresh OPT, in transformers' layout."""
    width, heads = width_and_heads(settings)
    dropout = settings.dropout or 0.0
    return common(settings, vocab_size, special, tied=True) | {
        UNNORMED_END: False,
        "activation_function": "relu",
        "architectures": ["OPTForCausalLM"],
        "attention_dropout": dropout,
        "do_layer_norm_before": True,
        "dropout": dropout,
        "enable_bias": True,
        "ffn_dim": settings.ffn_width or 4 * width,
        "hidden_size": width,
        "init_std": STANDARD_DEVIATION,
        "layer_norm_elementwise_affine": True,
        "layerdrop": 0.0,
        "max_position_embeddings": settings.max_length or LENGTH,
        "model_type": "opt",
        "num_attention_heads": heads,
        "num_hidden_layers": settings.depth or DEPTH,
        "word_embed_proj_dim": width,
    }


FAMILY = with_tasks(
    Family(honoured=frozenset(_HONOURED.split()), config=fresh, build=build, rules=rules, copies=copies), "model."
)
