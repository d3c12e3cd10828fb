"""Gemma in GGUF: its norms are kept as the 1 + w that they multiply with."""

from nextword.models.families.gemma import GELU, describe
from nextword.models.gguf.architecture import ABOUT_ONE, Architecture

OWN = {"architectures": ["GemmaForCausalLM"], "hidden_activation": GELU}
ARCHITECTURE = Architecture("gemma", describe, OWN, norm=ABOUT_ONE, activation=GELU, tied=True)
