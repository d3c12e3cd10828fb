"""GPT-J: decoder whose attention and feed-forward stand side by side behind one norm; neighbouring coordinates turn.

Wang & Komatsuzaki, "GPT-J-6B" (2021). Read and written as transformers' `GPTJForCausalLM` does. It pairs the first
`rotary_dim` coordinates of a head as (2k, 2k + 1); their rows are put half of them apart when they are read.
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from nextword.core.errors import CheckpointError
from nextword.models import gpt_like
from nextword.models.family import Special, check_keys, check_value, typed
from nextword.models.llama_like import each_attention, each_block
from nextword.models.settings import ModelSettings
from nextword.models.transformer import TransformerSettings
from nextword.models.weights import SAME, Rule, Tensors, Transform, pair, same
from nextword.nn.embedding import EmbeddingSettings
from nextword.nn.head import HeadSettings
from nextword.nn.position.rope import RopeSettings

_KEYS = """
    activation_function attn_pdrop embd_pdrop gradient_checkpointing layer_norm_epsilon n_embd n_head n_inner n_layer
    n_positions resid_pdrop rotary rotary_dim scale_attn_weights summary_activation summary_first_dropout
    summary_proj_to_labels summary_type summary_use_proj tie_word_embeddings vocab_size
"""  # summary_...: of a head that language models do not have
KEYS = frozenset(_KEYS.split())
NAMES = gpt_like.Keys()
ROTARY = 64


def rotary_width(config: Mapping[str, Any]) -> int:
    """How many coordinates of a head turn; CheckpointError where they cannot."""
    width, head_width = typed(config, "rotary_dim", int, ROTARY), config["n_embd"] // config["n_head"]
    if width % 2 or width > head_width:
        raise CheckpointError(
            f"config.json: rotary_dim {width} must be even and at most the {head_width} coordinates of a head"
        )
    return width


def describe(config: Mapping[str, Any]) -> TransformerSettings:
    """Our description of the blocks from a config.json; CheckpointError naming the key that is wrong or unknown."""
    check_keys(config, KEYS)
    check_value(config, "rotary", True)
    check_value(config, "scale_attn_weights", True)
    found = each_block(gpt_like.describe(config, NAMES, tied=False), arrangement="parallel-shared")
    found = each_attention(found, bias=False, rotary=True, rotary_width=rotary_width(config))
    embedding = EmbeddingSettings(dropout=found.embedding.dropout)
    return replace(found, rope=RopeSettings(), embedding=embedding, head=HeadSettings(bias=True))


def apart(heads: int, width: int) -> Transform:
    """Of the first `width` rows of each head, neighbours (2k, 2k + 1) <-> pairs (k, k + width/2)."""
    order = torch.cat([torch.arange(0, width, 2), torch.arange(1, width, 2)])
    return Transform(partial(_ordered, heads=heads, order=order), partial(_ordered, heads=heads, order=order.argsort()))


def _ordered(tensors: Tensors, heads: int, order: torch.Tensor) -> Tensors:
    (weight,) = tensors
    by_head = weight.unflatten(0, (heads, -1))
    width = len(order)
    return (torch.cat([by_head[:, :width][:, order], by_head[:, width:]], 1).flatten(0, 1),)


def rules(config: Mapping[str, Any]) -> list[Rule]:
    """How transformers names the tensors."""
    turned = apart(config["n_head"], rotary_width(config))
    found = [same("transformer.wte.weight", "embedding.weight"), *pair("transformer.ln_f", "norm")]
    for layer in range(config["n_layer"]):
        theirs, ours = f"transformer.h.{layer}", f"blocks.{layer}"
        for their_name, our_name, transform in (
            *(("q_proj", "query", turned), ("k_proj", "key", turned)),
            *(("v_proj", "value", SAME), ("out_proj", "output", SAME)),
        ):
            names = (f"{theirs}.attn.{their_name}.weight",), (f"{ours}.attention.{our_name}.weight",)
            found.append(Rule(*names, transform))
        found += pair(f"{theirs}.ln_1", f"{ours}.attention_norm")
        found += pair(f"{theirs}.mlp.fc_in", f"{ours}.feedforward.up")
        found += pair(f"{theirs}.mlp.fc_out", f"{ours}.feedforward.down")
    return [*found, same("lm_head.bias", "head.bias")]


def ignored(config: Mapping[str, Any]) -> frozenset[str]:
    """Causal masks that early files hold."""
    layers = range(config["n_layer"])
    return frozenset(f"transformer.h.{layer}.attn.{name}" for layer in layers for name in ("bias", "masked_bias"))


def fresh(settings: ModelSettings, vocab_size: int, special: Special) -> dict[str, Any]:
    """The config.json of a fresh GPT-J, in transformers' layout."""
    config = gpt_like.fresh(settings, vocab_size, special, NAMES, tied=False, rotary=True)
    quarter = max(2, config["n_embd"] // config["n_head"] // 8 * 2)  # of a head, as in GPT-J-6B
    return config | {"architectures": ["GPTJForCausalLM"], "model_type": "gptj", "rotary_dim": quarter}


FAMILY = gpt_like.gpt_like(describe, fresh, rules, "transformer.", "wte.weight", ignored=ignored)
