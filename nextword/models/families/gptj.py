"""GPT-J: decoder whose attention and feed-forward stand side by side behind one norm; neighbouring coordinates turn.

Wang & Komatsuzaki, "GPT-J-6B" (2021). Read and written as transformers' `GPTJForCausalLM` does. It pairs the first
`rotary_dim` coordinates of a head as (2k, 2k + 1); their rows are put half of them apart when they are read.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch

from nextword.core.errors import CheckpointError
from nextword.models.decoder_tasks import with_tasks
from nextword.models.family import Family, Special, check_keys, check_value, divided, known_activation, required, typed
from nextword.models.fresh import DEPTH, LENGTH, common, even_heads
from nextword.models.settings import ModelSettings
from nextword.models.transformer import Transformer, TransformerSettings
from nextword.models.weights import SAME, Rule, Tensors, Transform, pair, same
from nextword.nn.attention import AttentionSettings
from nextword.nn.block import BlockSettings
from nextword.nn.embedding import EmbeddingSettings
from nextword.nn.feedforward import FeedForwardSettings
from nextword.nn.head import HeadSettings
from nextword.nn.norm import NormSettings
from nextword.nn.position.rope import RopeSettings

_KEYS = """
    activation_function attn_pdrop embd_pdrop gradient_checkpointing layer_norm_epsilon n_embd n_head n_inner n_layer
    n_positions resid_pdrop rotary rotary_dim scale_attn_weights summary_activation summary_first_dropout
    summary_proj_to_labels summary_type summary_use_proj tie_word_embeddings vocab_size
"""  # summary_...: of a head that language models do not have
KEYS = frozenset(_KEYS.split())
_HONOURED = "width depth heads ffn_width max_length tied norm_eps dropout"
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
    width, heads = required(config, "n_embd", int), required(config, "n_head", int)
    head_width = divided(width, heads, ("n_embd", "n_head"))
    norm = NormSettings(width, typed(config, "layer_norm_epsilon", float, 1e-5), "layer")
    activation = known_activation(config, "activation_function", "gelu_new")
    attention = AttentionSettings(
        **{"width": width, "heads": heads, "kv_heads": heads, "head_width": head_width},
        dropout=typed(config, "attn_pdrop", float, 0.0),
        rotary_width=rotary_width(config),
    )
    ffn = FeedForwardSettings(width, typed(config, "n_inner", int, 4 * width), activation, bias=True, gated=False)
    block = BlockSettings(norm, attention, ffn, "parallel-shared", dropout=typed(config, "resid_pdrop", float, 0.0))
    return TransformerSettings(
        blocks=(block,) * required(config, "n_layer", int),
        norm=norm,
        rope=RopeSettings(),
        vocab_size=required(config, "vocab_size", int),
        width=width,
        max_length=typed(config, "n_positions", int, 2048),
        tied=typed(config, "tie_word_embeddings", bool, False),
        embedding=EmbeddingSettings(dropout=typed(config, "embd_pdrop", float, 0.0)),
        head=HeadSettings(bias=True),
    )


def build(config: dict[str, Any]) -> Transformer:
    """The model that a config.json describes."""
    return Transformer(describe(config), config)


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
    if not config.get("tie_word_embeddings"):
        found.append(same("lm_head.weight", "head.weight"))
    return [*found, same("lm_head.bias", "head.bias")]


def ignored(config: Mapping[str, Any]) -> frozenset[str]:
    """Causal masks that early files hold."""
    layers = range(config["n_layer"])
    return frozenset(f"transformer.h.{layer}.attn.{name}" for layer in layers for name in ("bias", "masked_bias"))


def copies(config: Mapping[str, Any]) -> dict[str, str]:
    """The output matrix of a tied model, which some files repeat."""
    return {"lm_head.weight": "transformer.wte.weight"} if config.get("tie_word_embeddings") else {}


def fresh(settings: ModelSettings, vocab_size: int, special: Special) -> dict[str, Any]:
    """The config.json of a fresh GPT-J, in transformers' layout."""
    width, heads = even_heads(settings)
    dropout = settings.dropout or 0.0
    return common(settings, vocab_size, special, tied=False) | {
        "activation_function": "gelu_new",
        "architectures": ["GPTJForCausalLM"],
        "attn_pdrop": dropout,
        "embd_pdrop": dropout,
        "layer_norm_epsilon": 1e-5 if settings.norm_eps is None else settings.norm_eps,
        "model_type": "gptj",
        "n_embd": width,
        "n_head": heads,
        "n_inner": settings.ffn_width,
        "n_layer": settings.depth or DEPTH,
        "n_positions": settings.max_length or LENGTH,
        "resid_pdrop": dropout,
        "rotary_dim": max(2, width // heads // 8 * 2),  # a quarter of a head, as in GPT-J-6B
    }


FAMILY = with_tasks(
    Family(
        honoured=frozenset(_HONOURED.split()), config=fresh, build=build, rules=rules, ignored=ignored, copies=copies
    ),
    "transformer.",
)
