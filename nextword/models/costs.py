"""What a token costs in a kind of model, in the few numbers from which `count` makes its figures."""

from dataclasses import astuple, dataclass


@dataclass(frozen=True)
class Costs:
    """matrices: the numbers in matrices that every token is multiplied with, the output matrix included.

    flops_per_key: attention's FLOPs for each key that a token sees, over all layers in which it sees those before it;
    flops_per_key_of_all: over those in which it sees the whole text (encoders, and attention to a source).
    state_per_token and state_fixed: floating-point numbers that the state of one sequence holds for each token, and
    once; state_bytes_per_token: bytes of what else it holds for each token (ids). idle: the numbers that a token
    passes by, in experts that were not chosen for it.
    """

    matrices: int
    flops_per_key: int = 0
    state_per_token: int = 0
    state_fixed: int = 0
    state_bytes_per_token: int = 0
    flops_per_key_of_all: int = 0
    idle: int = 0

    def __add__(self, other: "Costs") -> "Costs":
        """Both together: each token goes through both."""
        return Costs(*map(sum, zip(astuple(self), astuple(other), strict=True)))
