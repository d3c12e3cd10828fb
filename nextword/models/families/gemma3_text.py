"""Gemma 3: a Gemma 2 whose queries and keys are normed in place of capped scores, with five near layers to one far one.

Gemma Team, "Gemma 3 Technical Report" (2025). Near layers see a window and have rotary angles of their own, with a
smaller base. The text model alone, as transformers' `Gemma3ForCausalLM` reads and writes it.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from nextword.models import llama_like
from nextword.models.families import gemma2
from nextword.models.family import Special, check_off, typed
from nextword.models.rope_config import read_rope, ropes_by_layer
from nextword.models.settings import ModelSettings
from nextword.models.transformer import TransformerSettings

WINDOW, PATTERN = 512, 6  # of fresh models; the last of so many layers sees all
FAR_BASE, NEAR_BASE = 1_000_000.0, 10_000.0
DEFAULTS = gemma2.DEFAULTS | {
    **{"attn_logit_softcapping": None, "final_logit_softcapping": None, "max_position_embeddings": 131_072},
}  # fmt: skip - transformers'


def describe(config: Mapping[str, Any]) -> TransformerSettings:
    """Our description of the blocks from a config.json; CheckpointError naming the key that is wrong or unknown."""
    config = DEFAULTS | config
    check_off(config, "attn_logit_softcapping")  # which transformers reads and does not use
    near_base = typed(config, "rope_local_base_freq", float, NEAR_BASE)
    far, near = ropes_by_layer(config, FAR_BASE, near_base)
    pattern = typed(config, "sliding_window_pattern", int, PATTERN)
    found = gemma2.describe_gemma2(
        far, lambda layer: (layer + 1) % pattern != 0, "rope_local_base_freq", "sliding_window_pattern"
    )
    block = found.blocks[0]
    found = llama_like.each_attention(found, qk_norm=replace(block.norm, width=block.attention.head_width))
    return replace(found, near_rope=read_rope(near, config["max_position_embeddings"]))


def fresh(settings: ModelSettings, vocab_size: int, special: Special) -> dict[str, Any]:
    """The config.json of a fresh Gemma 3."""
    own = {"architectures": ["Gemma3ForCausalLM"], "model_type": "gemma3_text"}
    config = gemma2.fresh_gemma2(settings, vocab_size, special, **own, sliding_window=settings.window or WINDOW)
    del config["rope_theta"]
    bases = {"full_attention": settings.rope_base or FAR_BASE, "sliding_attention": NEAR_BASE}
    return config | {
        "rope_parameters": {kind: {"rope_theta": base, "rope_type": "default"} for kind, base in bases.items()},
    }


FAMILY = llama_like.llama_like(describe, fresh, honoured=gemma2.HONOURED)
