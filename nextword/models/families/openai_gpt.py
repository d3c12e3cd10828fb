"""GPT-1: post-norm decoder with learned positions, the first to be trained on text alone and then tuned for a task.

Radford et al., "Improving Language Understanding by Generative Pre-Training" (2018). Read and written as transformers'
`OpenAIGPTLMHeadModel` does. Its feed-forward is always four times as wide as the stream, and its "gelu" is the
approximation by tanh, which other configs call "gelu_new".
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from nextword.core.errors import CheckpointError, nearest
from nextword.models import gpt_like
from nextword.models.families.gpt2 import BASE, layer_rules
from nextword.models.family import Special, check_keys, typed
from nextword.models.llama_like import each_block
from nextword.models.settings import ModelSettings
from nextword.models.transformer import TransformerSettings
from nextword.models.weights import Rule, same

_KEYS = """
    afn attn_pdrop embd_pdrop layer_norm_epsilon n_ctx n_embd n_head n_layer n_positions n_special
    predict_special_tokens resid_pdrop summary_activation summary_first_dropout summary_proj_to_labels summary_type
    summary_use_proj tie_word_embeddings vocab_size
"""  # summary_...: of a head that language models do not have; n_special, ...: of code before 2020
KEYS = frozenset(_KEYS.split())
NAMES = gpt_like.Keys(activation="afn", usual_length=512, usual_dropout=0.1)
ACTIVATIONS = {"gelu": "gelu_new", "relu": "relu", "silu": "silu", "swish": "silu"}  # by the name in its configs


def describe(config: Mapping[str, Any]) -> TransformerSettings:
    """Our description of the blocks from a config.json; CheckpointError naming the key that is wrong or unknown."""
    check_keys(config, KEYS)
    name = typed(config, "afn", str, "gelu")
    if name not in ACTIVATIONS:
        raise CheckpointError(f"config.json: afn {name!r} is not known{nearest(name, ACTIVATIONS)}")
    found = gpt_like.describe({**config, "afn": ACTIVATIONS[name]}, NAMES)
    return replace(each_block(found, arrangement="post"), norm=None)


def rules(config: Mapping[str, Any]) -> list[Rule]:
    """How transformers names the tensors: its layers as GPT-2's."""
    found = [
        same(f"{BASE}tokens_embed.weight", "embedding.weight"),
        same(f"{BASE}positions_embed.weight", "embedding.positions.weight"),
    ]
    for layer in range(config["n_layer"]):
        found += layer_rules(f"{BASE}h.{layer}", f"blocks.{layer}")
    return found


def ignored(config: Mapping[str, Any]) -> frozenset[str]:
    """Causal masks and numbers from 0 on that early files hold."""
    return frozenset({f"{BASE}position_ids", *(f"{BASE}h.{layer}.attn.bias" for layer in range(config["n_layer"]))})


def fresh(settings: ModelSettings, vocab_size: int, special: Special) -> dict[str, Any]:
    """The config.json of a fresh GPT-1, in transformers' layout."""
    own = {"afn": "gelu", "architectures": ["OpenAIGPTLMHeadModel"], "model_type": "openai-gpt"}
    config = gpt_like.fresh(settings, vocab_size, special, NAMES) | own
    del config[NAMES.inner]
    return config


FAMILY = gpt_like.gpt_like(
    *(describe, fresh, rules, BASE, "tokens_embed.weight"),
    honoured=gpt_like.HONOURED - {"ffn_width"},
    ignored=ignored,
)
