"""Llama in GGUF: rotary pairs of queries and keys stand side by side."""

from nextword.models.families.llama import describe
from nextword.models.gguf.architecture import Architecture

ARCHITECTURE = Architecture("llama", describe, {"architectures": ["LlamaForCausalLM"]}, permuted=True)
