"""Gemma 3 in GGUF: a Gemma 2 with normed queries and keys, five near layers to a far one, and rotary bases of both."""

from typing import Any

from nextword.models.families.gemma import GELU
from nextword.models.families.gemma3_text import NEAR_BASE, PATTERN, describe
from nextword.models.gguf.architecture import ABOUT_ONE
from nextword.models.gguf.near import LOGIT_CAP, NEAR, NearAndFar

MORE = frozenset({LOGIT_CAP, NEAR, "attention.sliding_window"})
OWN: dict[str, Any] = {"architectures": ["Gemma3ForCausalLM"], "hidden_activation": GELU}
ARCHITECTURE = NearAndFar(
    **{"model_type": "gemma3_text", "describe": describe, "own": OWN, "norm": ABOUT_ONE, "more": MORE},
    **{"activation": GELU, "pattern": PATTERN, "near_base": NEAR_BASE, "caps": {LOGIT_CAP: None}, "wide_scale": 62},
)  # fmt: skip - wide_scale: of Gemma 3 27B
