"""Llama in GGUF: rotary pairs of queries and keys stand side by side. With experts it is Mixtral."""

from nextword.models.families import llama, mixtral
from nextword.models.gguf import mixture
from nextword.models.gguf.architecture import Architecture

MIXTRAL = {"architectures": ["MixtralForCausalLM"], "sliding_window": None}
ARCHITECTURE = Architecture(
    "llama",
    llama.describe,
    {"architectures": ["LlamaForCausalLM"]},
    permuted=True,
    experts=Architecture("mixtral", mixtral.describe, MIXTRAL, permuted=True, more=mixture.KEYS),
)
