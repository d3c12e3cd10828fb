"""GPT-1: post-norm decoder with learned positions, the first to be trained on text alone and then tuned for a task.

Radford et al., "Improving Language Understanding by Generative Pre-Training" (2018). Read and written as transformers'
`OpenAIGPTLMHeadModel` does. Its feed-forward is always four times as wide as the stream, and its "gelu" is the
approximation by tanh, which other configs call "gelu_new".
"""

from collections.abc import Mapping
from typing import Any

from nextword.core.errors import CheckpointError, nearest
from nextword.models.decoder_tasks import with_tasks
from nextword.models.families.gpt2 import BASE, layer_rules
from nextword.models.family import Family, Special, check_keys, divided, required, typed
from nextword.models.fresh import DEPTH, LENGTH, common, width_and_heads
from nextword.models.settings import ModelSettings
from nextword.models.transformer import Transformer, TransformerSettings
from nextword.models.weights import Rule, same
from nextword.nn.attention import AttentionSettings
from nextword.nn.block import BlockSettings
from nextword.nn.embedding import EmbeddingSettings
from nextword.nn.feedforward import FeedForwardSettings
from nextword.nn.norm import NormSettings

_KEYS = """
    afn attn_pdrop embd_pdrop layer_norm_epsilon n_ctx n_embd n_head n_layer n_positions n_special
    predict_special_tokens resid_pdrop summary_activation summary_first_dropout summary_proj_to_labels summary_type
    summary_use_proj tie_word_embeddings vocab_size
"""  # summary_...: of a head that language models do not have; n_special, ...: of code before 2020
KEYS = frozenset(_KEYS.split())
_HONOURED = "width depth heads max_length tied norm_eps dropout"
ACTIVATIONS = {"gelu": "gelu_new", "relu": "relu", "silu": "silu", "swish": "silu"}  # by the name in its configs


def describe(config: Mapping[str, Any]) -> TransformerSettings:
    """Our description of the blocks from a config.json; CheckpointError naming the key that is wrong or unknown."""
    check_keys(config, KEYS)
    width, heads = required(config, "n_embd", int), required(config, "n_head", int)
    head_width = divided(width, heads, ("n_embd", "n_head"))
    name = typed(config, "afn", str, "gelu")
    if name not in ACTIVATIONS:
        raise CheckpointError(f"config.json: afn {name!r} is not known{nearest(name, ACTIVATIONS)}")
    attention = AttentionSettings(
        **{"width": width, "heads": heads, "kv_heads": heads, "head_width": head_width, "bias": True},
        dropout=typed(config, "attn_pdrop", float, 0.1),
        rotary=False,
    )
    norm = NormSettings(width, typed(config, "layer_norm_epsilon", float, 1e-5), "layer")
    ffn = FeedForwardSettings(width, 4 * width, ACTIVATIONS[name], bias=True, gated=False)
    block = BlockSettings(norm, attention, ffn, "post", dropout=typed(config, "resid_pdrop", float, 0.1))
    max_length = typed(config, "n_positions", int, 512)
    return TransformerSettings(
        blocks=(block,) * required(config, "n_layer", int),
        norm=None,
        vocab_size=required(config, "vocab_size", int),
        width=width,
        max_length=max_length,
        tied=typed(config, "tie_word_embeddings", bool, True),
        embedding=EmbeddingSettings("learned", max_length, dropout=typed(config, "embd_pdrop", float, 0.1)),
    )


def build(config: dict[str, Any]) -> Transformer:
    """The model that a config.json describes."""
    return Transformer(describe(config), config)


def rules(config: Mapping[str, Any]) -> list[Rule]:
    """How transformers names the tensors: its layers as GPT-2's."""
    found = [
        same(f"{BASE}tokens_embed.weight", "embedding.weight"),
        same(f"{BASE}positions_embed.weight", "embedding.positions.weight"),
    ]
    for layer in range(config["n_layer"]):
        found += layer_rules(f"{BASE}h.{layer}", f"blocks.{layer}")
    if config.get("tie_word_embeddings") is False:
        found.append(same("lm_head.weight", "head.weight"))
    return found


def ignored(config: Mapping[str, Any]) -> frozenset[str]:
    """Causal masks and numbers from 0 on that early files hold."""
    return frozenset({f"{BASE}position_ids", *(f"{BASE}h.{layer}.attn.bias" for layer in range(config["n_layer"]))})


def copies(config: Mapping[str, Any]) -> dict[str, str]:
    """The output matrix of a tied model, which some files repeat."""
    return {} if config.get("tie_word_embeddings") is False else {"lm_head.weight": f"{BASE}tokens_embed.weight"}


def fresh(settings: ModelSettings, vocab_size: int, special: Special) -> dict[str, Any]:
    """The config.json of a fresh GPT-1, in transformers' layout."""
    width, heads = width_and_heads(settings)
    dropout = settings.dropout or 0.0
    return common(settings, vocab_size, special, tied=True) | {
        "afn": "gelu",
        "architectures": ["OpenAIGPTLMHeadModel"],
        "attn_pdrop": dropout,
        "embd_pdrop": dropout,
        "layer_norm_epsilon": 1e-5 if settings.norm_eps is None else settings.norm_eps,
        "model_type": "openai-gpt",
        "n_embd": width,
        "n_head": heads,
        "n_layer": settings.depth or DEPTH,
        "n_positions": settings.max_length or LENGTH,
        "resid_pdrop": dropout,
    }


FAMILY = with_tasks(
    Family(
        honoured=frozenset(_HONOURED.split()), config=fresh, build=build, rules=rules, ignored=ignored, copies=copies
    ),
    BASE,
)
