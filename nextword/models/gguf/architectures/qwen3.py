"""Qwen 3 in GGUF: named as Llama, with norms of queries and keys."""

from nextword.models.families.qwen3 import describe
from nextword.models.gguf.architecture import Architecture

ARCHITECTURE = Architecture(
    "qwen3", describe, {"architectures": ["Qwen3ForCausalLM"], "use_sliding_window": False}
)  # fmt: skip
