"""Phi 3 in GGUF: one matrix for queries, keys and values, one for gate and up, as transformers has them."""

from nextword.models.families.phi3 import describe
from nextword.models.gguf.architecture import Architecture

MORE = frozenset({"attention.sliding_window"})  # which llama.cpp reads and does not use
ARCHITECTURE = Architecture("phi3", describe, {"architectures": ["Phi3ForCausalLM"]}, fused=True, more=MORE)
