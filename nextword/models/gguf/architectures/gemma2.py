"""Gemma 2 in GGUF: norms around each part, capped scores and logits, a window in every second layer."""

from typing import Any

from nextword.models.families.gemma import GELU
from nextword.models.families.gemma2 import WINDOW, describe
from nextword.models.gguf.architecture import ABOUT_ONE
from nextword.models.gguf.near import CAP, LOGIT_CAP, NearAndFar

CAPS = {CAP: 50.0, LOGIT_CAP: 30.0}  # what llama.cpp takes where a file does not say
MORE = frozenset({*CAPS, "attention.sliding_window"})
OWN: dict[str, Any] = {"architectures": ["Gemma2ForCausalLM"], "hidden_activation": GELU}
ARCHITECTURE = NearAndFar(
    **{"model_type": "gemma2", "describe": describe, "own": OWN, "norm": ABOUT_ONE, "more": MORE, "activation": GELU},
    **{"tied": True, "pattern": 2, "window": WINDOW, "caps": CAPS, "wide_scale": 46},
)  # fmt: skip - wide_scale: of Gemma 2 27B
