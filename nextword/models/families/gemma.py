"""Gemma: a Llama whose norms multiply by 1 + w, whose embedding is scaled by √width, and whose gate is GELU.

Gemma Team, "Gemma: Open Models Based on Gemini Research and Technology" (2024). Files of the first release say
`hidden_act` "gelu" and mean the tanh form; later ones name it in `hidden_activation`. Read and written as transformers'
`GemmaForCausalLM` does.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from nextword.core.errors import CheckpointError
from nextword.models import llama_like
from nextword.models.family import Special, check_off, known_activation
from nextword.models.settings import ModelSettings
from nextword.models.transformer import TransformerSettings
from nextword.nn.embedding import EmbeddingSettings
from nextword.nn.feedforward import ACTIVATIONS

GELU = "gelu_pytorch_tanh"
DEFAULTS = {"head_dim": 256, "max_position_embeddings": 8192, "num_key_value_heads": 16, "tie_word_embeddings": True}
KEYS = ("attention_bias", "hidden_activation", "use_bidirectional_attention")


def describe(config: Mapping[str, Any]) -> TransformerSettings:
    """Our description of the blocks from a config.json; CheckpointError naming the key that is wrong or unknown."""
    return describe_gemma(DEFAULTS | config)


def describe_gemma(config: Mapping[str, Any], *further: str) -> TransformerSettings:
    """What all Gemmas have; `further` keys are known beside those of the first."""
    check_off(config, "use_bidirectional_attention")
    found = llama_like.describe({**config, "hidden_act": activation(config)}, *KEYS, *further)
    norm = replace(found.blocks[0].norm, kind="rms about one")
    embedding = EmbeddingSettings(scale=found.width**0.5, scale_rounded=True)
    return replace(llama_like.each_block(found, norm=norm), norm=norm, embedding=embedding)


def activation(config: Mapping[str, Any]) -> str:
    """The activation that either key names; CheckpointError where they name two."""
    older, newer = (known_activation(config, key, GELU) for key in ("hidden_act", "hidden_activation"))
    named = [name for name in (config.get("hidden_act"), config.get("hidden_activation")) if name]
    older = GELU if older == "gelu" else older
    if len(named) > 1 and ACTIVATIONS[older] is not ACTIVATIONS[newer]:
        raise CheckpointError(f"config.json: hidden_act {older!r} contradicts hidden_activation {newer!r}; keep one")
    return newer if config.get("hidden_activation") else older


def fresh(settings: ModelSettings, vocab_size: int, special: Special) -> dict[str, Any]:
    """The config.json of a fresh Gemma."""
    own = {"architectures": ["GemmaForCausalLM"], "model_type": "gemma"}
    return fresh_gemma(settings, vocab_size, special, **own)


def fresh_gemma(settings: ModelSettings, vocab_size: int, special: Special, **own: Any) -> dict[str, Any]:
    """What the configs of all fresh Gemmas say."""
    shared = {"attention_bias": False, "hidden_act": GELU}
    return llama_like.fresh(settings, vocab_size, special, **shared, **own)


FAMILY = llama_like.llama_like(describe, fresh)
