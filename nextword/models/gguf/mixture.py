"""Mixtures of experts in GGUF: one tensor holds a matrix of every expert, one expert after the other.

The router stays fp32 in every format: it is small, and decides by differences (llama.cpp leaves it out of quantising).
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from nextword.core.errors import CheckpointError
from nextword.models.transformer import TransformerSettings
from nextword.models.weights import Rule, Tensors, Transform, same
from nextword.nn.moe import MixtureSettings

EXPERTS, CHOSEN = "expert_count", "expert_used_count"
KEYS = frozenset({EXPERTS, CHOSEN})
ROUTER = "ffn_gate_inp"
PARTS = {"gate": "w1", "up": "w3", "down": "w2"}  # Mixtral's names of an expert's matrices


def config(get: Any, layers: int, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """The part of a config.json that describes the mixtures; `get` gives the file's values."""
    experts, chosen = get.integer(EXPERTS), get.integer(CHOSEN)
    held = sum(tensor.numel() for name, tensor in tensors.items() if name.endswith("_exps.weight"))
    if experts * layers > held:  # before anything is made for each of them
        raise CheckpointError(f"{get.where} holds {held} numbers of experts, too few for {experts} in {layers} layers")
    return {"num_local_experts": experts, "num_experts_per_tok": chosen}


def values(settings: TransformerSettings) -> Mapping[str, int]:
    """The values that say the same; none for a model without experts."""
    ffn = settings.blocks[0].feedforward
    return {EXPERTS: ffn.experts, CHOSEN: ffn.chosen} if isinstance(ffn, MixtureSettings) else {}


def rules(theirs: str, ours: str, experts: int) -> list[Rule]:
    """GGUF's names of the tensors of a layer, and those of Mixtral in transformers."""
    ours = f"{ours}.block_sparse_moe"
    found = [same(f"{theirs}.{ROUTER}.weight", f"{ours}.gate.weight")]
    for part, name in PARTS.items():
        each = tuple(f"{ours}.experts.{number}.{name}.weight" for number in range(experts))
        found.append(Rule((f"{theirs}.ffn_{part}_exps.weight",), each, one_of(experts)))
    return found


def one_of(experts: int) -> Transform:
    """One tensor, the experts' matrices along its first dimension."""

    def read(tensors: Tensors) -> Tensors:
        if len(tensors[0]) != experts:
            raise CheckpointError(f"a tensor of {len(tensors[0])} matrices cannot be that of {experts} experts")
        return tensors[0].unbind()

    return Transform(read, lambda tensors: (torch.stack(tensors),))
