"""OLMo 2: a Llama with its norms on what each part adds, and on all queries and all keys of a position together.

Team OLMo, "2 OLMo 2 Furious" (2025): both keep the training from spiking. Read and written as transformers'
`Olmo2ForCausalLM` does.
"""

from collections.abc import Mapping
from typing import Any

from nextword.models import llama_like
from nextword.models.family import Special
from nextword.models.settings import ModelSettings
from nextword.models.transformer import TransformerSettings

DEFAULTS = {"rms_norm_eps": 1e-5}  # transformers'


def describe(config: Mapping[str, Any], *further: str) -> TransformerSettings:
    """Our description of the blocks from a config.json; CheckpointError naming the key that is wrong or unknown."""
    found = llama_like.describe(DEFAULTS | config, "attention_bias", *further)
    found = llama_like.each_block(found, arrangement="output")
    return llama_like.each_attention(found, qk_norm=found.blocks[0].norm, qk_joint=True)


def fresh(settings: ModelSettings, vocab_size: int, special: Special) -> dict[str, Any]:
    """The config.json of a fresh OLMo 2."""
    own = {"architectures": ["Olmo2ForCausalLM"], "model_type": "olmo2", "attention_bias": False}
    return llama_like.fresh(settings, vocab_size, special, **own)


FAMILY = llama_like.llama_like(describe, fresh)
