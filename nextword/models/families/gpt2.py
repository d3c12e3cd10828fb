"""GPT-2: pre-norm decoder with LayerNorm, learned positions and a plain feed-forward.

Radford et al., "Language Models are Unsupervised Multitask Learners" (2019). Read and written as transformers'
`GPT2LMHeadModel` does, which keeps queries, keys and values in one matrix and all matrices transposed.
"""

from collections.abc import Mapping
from typing import Any

import torch

from nextword.models.decoder_tasks import with_tasks
from nextword.models.family import Family, Special, check_keys, check_value, divided, known_activation, required, typed
from nextword.models.fresh import DEPTH, LENGTH, common, width_and_heads
from nextword.models.settings import ModelSettings
from nextword.models.transformer import Transformer, TransformerSettings
from nextword.models.weights import Rule, Tensors, Transform, pair, same
from nextword.nn.attention import AttentionSettings
from nextword.nn.block import BlockSettings
from nextword.nn.embedding import EmbeddingSettings
from nextword.nn.feedforward import FeedForwardSettings
from nextword.nn.norm import NormSettings

_KEYS = """
    activation_function add_cross_attention attn_pdrop embd_pdrop layer_norm_epsilon n_ctx n_embd n_head n_inner n_layer
    n_positions reorder_and_upcast_attn resid_pdrop scale_attn_by_inverse_layer_idx scale_attn_weights
    summary_activation summary_first_dropout summary_proj_to_labels summary_type summary_use_proj tie_word_embeddings
    vocab_size
"""  # summary_...: of a head that language models do not have; reorder_and_upcast_attn: how, not what, is computed
KEYS = frozenset(_KEYS.split())
_HONOURED = "width depth heads ffn_width max_length tied norm_eps dropout"
BASE = "transformer."  # what the names of tensors begin with, but for files of the bare model


def describe(config: Mapping[str, Any]) -> TransformerSettings:
    """Our description of the blocks from a config.json; CheckpointError naming the key that is wrong or unknown."""
    check_keys(config, KEYS)
    check_value(config, "add_cross_attention", False)
    width, heads = required(config, "n_embd", int), required(config, "n_head", int)
    head_width = divided(width, heads, ("n_embd", "n_head"))
    norm = NormSettings(width, typed(config, "layer_norm_epsilon", float, 1e-5), "layer")
    activation = known_activation(config, "activation_function", "gelu_new")
    inner = typed(config, "n_inner", int, 4 * width)
    drop = typed(config, "resid_pdrop", float, 0.1)
    scale = head_width**-0.5 if typed(config, "scale_attn_weights", bool, True) else 1.0
    by_layer = typed(config, "scale_attn_by_inverse_layer_idx", bool, False)
    blocks = []
    for layer in range(required(config, "n_layer", int)):
        attention = AttentionSettings(
            **{"width": width, "heads": heads, "kv_heads": heads, "head_width": head_width, "bias": True},
            dropout=typed(config, "attn_pdrop", float, 0.1),
            rotary=False,
            scale=scale / (layer + 1) if by_layer else scale,
        )
        ffn = FeedForwardSettings(width, inner, activation, bias=True, gated=False)
        blocks.append(BlockSettings(norm, attention, ffn, dropout=drop))
    max_length = typed(config, "n_positions", int, 1024)
    return TransformerSettings(
        blocks=tuple(blocks),
        norm=norm,
        vocab_size=required(config, "vocab_size", int),
        width=width,
        max_length=max_length,
        tied=typed(config, "tie_word_embeddings", bool, True),
        embedding=EmbeddingSettings("learned", max_length, dropout=typed(config, "embd_pdrop", float, 0.1)),
    )


def build(config: dict[str, Any]) -> Transformer:
    """The model that a config.json describes."""
    return Transformer(describe(config), config)


def _transpose(tensors: Tensors) -> Tensors:
    return tuple(tensor.T for tensor in tensors)


def _split(tensors: Tensors) -> Tensors:
    weight, bias = tensors
    return (*weight.T.chunk(3), *bias.chunk(3))


def _fuse(tensors: Tensors) -> Tensors:
    return torch.cat(tensors[:3]).T, torch.cat(tensors[3:])


TRANSPOSED, FUSED = Transform(_transpose, _transpose), Transform(_split, _fuse)


def layer_rules(theirs: str, ours: str) -> list[Rule]:
    """How transformers names the tensors of a layer."""
    parts = [f"{ours}.attention.{part}" for part in ("query", "key", "value")]
    names = *(f"{part}.weight" for part in parts), *(f"{part}.bias" for part in parts)
    found = [
        Rule((f"{theirs}.attn.c_attn.weight", f"{theirs}.attn.c_attn.bias"), names, FUSED),
        *pair(f"{theirs}.ln_1", f"{ours}.attention_norm"),
        *pair(f"{theirs}.ln_2", f"{ours}.feedforward_norm"),
    ]
    linears = {"attn.c_proj": "attention.output", "mlp.c_fc": "feedforward.up", "mlp.c_proj": "feedforward.down"}
    for their_name, our_name in linears.items():
        found.append(Rule((f"{theirs}.{their_name}.weight",), (f"{ours}.{our_name}.weight",), TRANSPOSED))
        found.append(same(f"{theirs}.{their_name}.bias", f"{ours}.{our_name}.bias"))
    return found


def rules(config: Mapping[str, Any]) -> list[Rule]:
    """How transformers names the tensors."""
    found = [
        same(f"{BASE}wte.weight", "embedding.weight"),
        same(f"{BASE}wpe.weight", "embedding.positions.weight"),
        *pair(f"{BASE}ln_f", "norm"),
    ]
    for layer in range(config["n_layer"]):
        found += layer_rules(f"{BASE}h.{layer}", f"blocks.{layer}")
    if config.get("tie_word_embeddings") is False:
        found.append(same("lm_head.weight", "head.weight"))
    return found


def ignored(config: Mapping[str, Any]) -> frozenset[str]:
    """Causal masks that early files hold."""
    layers = range(config["n_layer"])
    return frozenset(f"{BASE}h.{layer}.attn.{name}" for layer in layers for name in ("bias", "masked_bias"))


def copies(config: Mapping[str, Any]) -> dict[str, str]:
    """The output matrix of a tied model, which some files repeat."""
    return {} if config.get("tie_word_embeddings") is False else {"lm_head.weight": f"{BASE}wte.weight"}


def fresh(settings: ModelSettings, vocab_size: int, special: Special) -> dict[str, Any]:
    """The config.json of a fresh GPT-2, in transformers' layout."""
    width, heads = width_and_heads(settings)
    dropout = settings.dropout or 0.0
    return common(settings, vocab_size, special, tied=True) | {
        "activation_function": "gelu_new",
        "architectures": ["GPT2LMHeadModel"],
        "attn_pdrop": dropout,
        "embd_pdrop": dropout,
        "layer_norm_epsilon": 1e-5 if settings.norm_eps is None else settings.norm_eps,
        "model_type": "gpt2",
        "n_embd": width,
        "n_head": heads,
        "n_inner": settings.ffn_width,
        "n_layer": settings.depth or DEPTH,
        "n_positions": settings.max_length or LENGTH,
        "resid_pdrop": dropout,
    }


FAMILY = with_tasks(
    Family(
        honoured=frozenset(_HONOURED.split()), config=fresh, build=build, rules=rules, ignored=ignored, copies=copies
    ),
    BASE,
    tokens="classifier",
)
