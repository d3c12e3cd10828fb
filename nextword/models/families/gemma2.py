"""Gemma 2: a Gemma with a norm on what each part adds, scores and logits that are softly capped, and every second layer
with a window.

Gemma Team, "Gemma 2: Improving Open Language Models at a Practical Size" (2024). Scores are scaled by
1/√query_pre_attn_scalar. Read and written as transformers' `Gemma2ForCausalLM` does.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from nextword.models import llama_like
from nextword.models.families import gemma
from nextword.models.family import Special, check_value, positive, typed
from nextword.models.settings import ModelSettings
from nextword.models.transformer import TransformerSettings
from nextword.nn.head import HeadSettings

WINDOW = 4096
DEFAULTS = gemma.DEFAULTS | {
    **{"num_key_value_heads": 4, "query_pre_attn_scalar": 256, "sliding_window": WINDOW},
    **{"attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0},
}  # fmt: skip - transformers'
KEYS = (
    *("attn_logit_softcapping", "final_logit_softcapping", "layer_types", "query_pre_attn_scalar"),
    *("sliding_window", "sliding_window_size"),
)
HONOURED = llama_like.HONOURED | {"window"}


def describe(config: Mapping[str, Any]) -> TransformerSettings:
    """Our description of the blocks from a config.json; CheckpointError naming the key that is wrong or unknown."""
    config = DEFAULTS | config
    found = describe_gemma2(config, lambda layer: layer % 2 == 0)
    return llama_like.each_attention(found, cap=positive(config, "attn_logit_softcapping"))


def describe_gemma2(config: Mapping[str, Any], sliding: llama_like.Sliding, *further: str) -> TransformerSettings:
    """What Gemma 2 and 3 share; `sliding`: which layers have a window unless the config lists them."""
    check_value(config, "sliding_window_size", config["sliding_window"])  # its name in the first files
    found = llama_like.each_block(gemma.describe_gemma(config, *KEYS, *further), arrangement="sandwich")
    windows = llama_like.layer_windows(config, typed(config, "sliding_window", int, None), sliding)
    asked = positive(config, "query_pre_attn_scalar")
    found = llama_like.each_attention(llama_like.windowed(found, windows), scale=asked and asked**-0.5)
    return replace(found, head=HeadSettings(cap=positive(config, "final_logit_softcapping")))


def fresh(settings: ModelSettings, vocab_size: int, special: Special) -> dict[str, Any]:
    """The config.json of a fresh Gemma 2."""
    own = {"architectures": ["Gemma2ForCausalLM"], "model_type": "gemma2"}
    caps = {"attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0}
    return fresh_gemma2(settings, vocab_size, special, **own, **caps, sliding_window=settings.window or WINDOW)


def fresh_gemma2(settings: ModelSettings, vocab_size: int, special: Special, **own: Any) -> dict[str, Any]:
    """What the configs of fresh Gemmas 2 and 3 say."""
    config = gemma.fresh_gemma(settings, vocab_size, special, hidden_activation=gemma.GELU, **own)
    return config | {"query_pre_attn_scalar": config["head_dim"]}


FAMILY = llama_like.llama_like(describe, fresh, honoured=HONOURED)
