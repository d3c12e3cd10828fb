"""GPT-2: pre-norm decoder with LayerNorm, learned positions and a plain feed-forward.

Radford et al., "Language Models are Unsupervised Multitask Learners" (2019). Read and written as transformers'
`GPT2LMHeadModel` does, which keeps queries, keys and values in one matrix and all matrices transposed.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from nextword.models import gpt_like
from nextword.models.family import Special, check_keys, check_value, typed
from nextword.models.settings import ModelSettings
from nextword.models.transformer import TransformerSettings
from nextword.models.weights import Rule, Tensors, Transform, pair, same

_KEYS = """
    activation_function add_cross_attention attn_pdrop embd_pdrop layer_norm_epsilon n_ctx n_embd n_head n_inner n_layer
    n_positions reorder_and_upcast_attn resid_pdrop scale_attn_by_inverse_layer_idx scale_attn_weights
    summary_activation summary_first_dropout summary_proj_to_labels summary_type summary_use_proj tie_word_embeddings
    vocab_size
"""  # summary_...: of a head that language models do not have; reorder_and_upcast_attn: how, not what, is computed
KEYS = frozenset(_KEYS.split())
NAMES = gpt_like.Keys(usual_length=1024, usual_dropout=0.1)
BASE = "transformer."  # what the names of tensors begin with, but for files of the bare model


def describe(config: Mapping[str, Any]) -> TransformerSettings:
    """Our description of the blocks from a config.json; CheckpointError naming the key that is wrong or unknown."""
    check_keys(config, KEYS)
    check_value(config, "add_cross_attention", False)
    found = gpt_like.describe(config, NAMES)
    scale = found.blocks[0].attention.head_width ** -0.5 if typed(config, "scale_attn_weights", bool, True) else 1.0
    by_layer = typed(config, "scale_attn_by_inverse_layer_idx", bool, False)
    blocks = (
        replace(block, attention=replace(block.attention, scale=scale / (layer + 1) if by_layer else scale))
        for layer, block in enumerate(found.blocks)
    )
    return replace(found, blocks=tuple(blocks))


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
    return found


def ignored(config: Mapping[str, Any]) -> frozenset[str]:
    """Causal masks that early files hold."""
    layers = range(config["n_layer"])
    return frozenset(f"{BASE}h.{layer}.attn.{name}" for layer in layers for name in ("bias", "masked_bias"))


def fresh(settings: ModelSettings, vocab_size: int, special: Special) -> dict[str, Any]:
    """The config.json of a fresh GPT-2, in transformers' layout."""
    own = {"architectures": ["GPT2LMHeadModel"], "model_type": "gpt2"}
    return gpt_like.fresh(settings, vocab_size, special, NAMES) | own


FAMILY = gpt_like.gpt_like(describe, fresh, rules, BASE, "wte.weight", tokens="classifier", ignored=ignored)
