"""Mixtral: a Mistral whose feed-forwards are mixtures; the weights of the two experts of a token sum to 1.

Jiang et al., "Mixtral of Experts" (2024). Files call the matrices of an expert w1 (gate), w3 (up) and w2 (down). Read
and written as transformers' `MixtralForCausalLM` does; `router_jitter_noise` is not known.
"""

from collections.abc import Mapping
from typing import Any

from nextword.models import llama_like, mixture_config
from nextword.models.family import Special, check_off, check_value, typed
from nextword.models.settings import ModelSettings
from nextword.models.transformer import TransformerSettings
from nextword.models.weights import Rule
from nextword.nn.feedforward import FeedForwardSettings
from nextword.nn.moe import MixtureSettings

DEFAULTS = {
    **{"num_key_value_heads": 8, "max_position_embeddings": 131_072, "rms_norm_eps": 1e-5},  # transformers'
    **{"num_local_experts": 8, "num_experts_per_tok": 2, "router_aux_loss_coef": 0.001},
}
OWN_KEYS = ("num_local_experts", "router_jitter_noise", "sliding_window")
EXPERTS = "num_local_experts"


def describe(config: Mapping[str, Any]) -> TransformerSettings:
    """Our description of the blocks from a config.json; CheckpointError naming the key that is wrong or unknown."""
    config = DEFAULTS | config
    check_off(config, "router_jitter_noise")
    check_value(config, "norm_topk_prob", True)
    check_value(config, "num_experts", config[EXPERTS])
    found = llama_like.describe(config, *mixture_config.KEYS, *OWN_KEYS)
    layers = range(len(found.blocks))
    found = llama_like.windowed(found, [typed(config, "sliding_window", int, None) for _ in layers])
    return mixture_config.with_experts(found, config, layers, key=EXPERTS, renormalise=True)


def feedforward_rules(theirs: str, ours: str, settings: FeedForwardSettings) -> list[Rule]:
    """How a file names the tensors of a mixture."""
    assert isinstance(settings, MixtureSettings)
    theirs = theirs.removesuffix("mlp") + "block_sparse_moe"
    return mixture_config.expert_rules(theirs, ours, settings, ("w1", "w3", "w2"))


def rules(settings: TransformerSettings) -> list[Rule]:
    """How a file names the tensors."""
    return llama_like.rules(settings, feedforward=feedforward_rules)


def fresh(settings: ModelSettings, vocab_size: int, special: Special) -> dict[str, Any]:
    """The config.json of a fresh Mixtral."""
    own = {"architectures": ["MixtralForCausalLM"], "model_type": "mixtral", "router_jitter_noise": 0.0}
    config = mixture_config.fresh(settings, vocab_size, special, **own, sliding_window=settings.window)
    return config | {EXPERTS: config.pop("num_experts")}


FAMILY = llama_like.llama_like(describe, fresh, rules, mixture_config.HONOURED | {"window"})
