"""Qwen 2 and 2.5 in GGUF: named as Llama, its pairs as transformers has them."""

from nextword.models.families.qwen2 import describe
from nextword.models.gguf.architecture import Architecture

ARCHITECTURE = Architecture(
    "qwen2", describe, {"architectures": ["Qwen2ForCausalLM"], "use_sliding_window": False}
)  # fmt: skip
