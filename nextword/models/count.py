"""What a model weighs and what a token costs, counted from its description alone.

Built on torch's meta device, a model has shapes but no memory: a 70B config is counted in a second.

    FLOPs a token, forward   = 2 · (numbers in matrices) + 4 · Σ_layers H · E · (keys seen)
    keys seen                = (length + 1) / 2 on average in a decoder, the length in an encoder, fewer in a window
    FLOPs a token, training  = 3 × forward               the gradient costs two products for each one forward

A token of a mixture of experts is multiplied with the matrices of the experts chosen for it alone.

A multiply and an add are two FLOPs. N without embeddings leaves out the embedding and an untied output matrix, as in
Kaplan et al., "Scaling Laws for Neural Language Models" (2020); the output matrix is multiplied all the same and
counts for FLOPs. An encoder-decoder's token stands for one of the source and one of the target. GPT-3 175B: 12 · 96
layers · 12288² = 173,946,175,488.
"""

from dataclasses import dataclass
from typing import Any

import torch

from nextword.models.costs import Costs
from nextword.models.family import Storable, find, understood

OUTSIDE_N = {"embedding", "output"}
FLOAT_BYTES = {"fp32": 4, "bf16": 2}
BACKWARD = 2  # products for the gradient, for each one forward


@dataclass(frozen=True)
class Count:
    """The figures of one model; FLOPs for texts of `length` tokens, on average over their positions."""

    parameters: int
    by_part: dict[str, int]
    without_embeddings: int
    length: int | None
    flops_forward: float
    flops_training: float
    integer_bytes: int
    costs: Costs

    @property
    def active(self) -> int:
        """The parameters that a token has to do with: fewer than all in a mixture of experts."""
        return self.parameters - self.costs.idle

    def weight_bytes(self, kind: str) -> int:
        """Bytes of all weights with floating-point ones in `kind`, a key of FLOAT_BYTES; counts are int64 always."""
        whole = self.integer_bytes // torch.int64.itemsize
        return (self.parameters - whole) * FLOAT_BYTES[kind] + self.integer_bytes

    def state_bytes(self, tokens: int, kind: str) -> int:
        """Bytes that the state of one sequence of `tokens` tokens takes, without what it takes once."""
        near = sum(one.kept * min(tokens, one.room) for one in self.costs.near)
        every = self.costs.state_per_token * FLOAT_BYTES[kind] + self.costs.state_bytes_per_token
        return tokens * every + near * FLOAT_BYTES[kind]

    def fixed_state_bytes(self, kind: str) -> int:
        """Bytes that the state of one sequence takes whatever its length."""
        return self.costs.state_fixed * FLOAT_BYTES[kind]


def count(model: Storable, length: int | None = None) -> Count:
    """Counts a model's parameters and costs; `length` defaults to the model's max_length."""
    tensors = model.state_dict()
    by_part = dict.fromkeys(model.PARTS.values(), 0)
    for name, tensor in tensors.items():
        by_part[part_of(name, model.PARTS)] += tensor.numel()
    by_part = {part: size for part, size in by_part.items() if size}
    costs = model.costs()
    length = length or model.max_length
    seen = ((length or 1) + 1) / 2  # a position sees itself and those before: 1, 2, ... length
    forward = 2 * costs.matrices + costs.flops_per_key * seen + costs.flops_per_key_of_all * (length or 1)
    forward += sum(near.flops_per_key * near.keys(length or 1) for near in costs.near)
    total = sum(by_part.values())
    return Count(
        parameters=total,
        by_part=by_part,
        without_embeddings=total - sum(size for part, size in by_part.items() if part in OUTSIDE_N),
        length=length,
        flops_forward=forward,
        flops_training=(1 + BACKWARD) * forward,
        integer_bytes=sum(tensor.nbytes for tensor in tensors.values() if not tensor.is_floating_point()),
        costs=costs,
    )


def part_of(name: str, parts: dict[str, str]) -> str:
    """The part that a tensor counts for, by the first of the names on its path that `parts` knows."""
    return next(parts[step] for step in name.split(".") if step in parts)


def describe(config: dict[str, Any], where: str = "config.json") -> Storable:
    """The model of a config.json without memory for its weights (on the meta device)."""
    family = find(config.get("model_type"), where)
    with torch.device("meta"), understood(where):
        return family.build(config)
