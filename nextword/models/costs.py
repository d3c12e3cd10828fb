"""What a token costs in a kind of model, in the few numbers from which `count` makes its figures."""

from dataclasses import dataclass, fields


@dataclass(frozen=True)
class Near:
    """Attention that sees only keys less than `window` places away: its FLOPs for each of them, and what it keeps.

    kept: numbers that the state holds for each of the last `room` tokens, for layers that look back only.
    """

    window: int
    causal: bool
    flops_per_key: int
    kept: int
    room: int

    def keys(self, length: int) -> float:
        """The keys that a position of a text of so many tokens sees, on average.

        >>> Near(2, True, 0, 0, 0).keys(3), Near(2, False, 0, 0, 0).keys(3), Near(9, True, 0, 0, 0).keys(3)
        (1.6666666666666667, 2.3333333333333335, 2.0)
        """
        reach = min(self.window, length)
        pairs = reach * (reach + 1) / 2 + (length - reach) * reach
        return (pairs if self.causal else 2 * pairs - length) / length


@dataclass(frozen=True)
class Costs:
    """matrices: the numbers in matrices that every token is multiplied with, the output matrix included.

    flops_per_key: attention's FLOPs for each key that a token sees, over all layers in which it sees those before it;
    flops_per_key_of_all: over those in which it sees the whole text (encoders, and attention to a source).
    state_per_token and state_fixed: floating-point numbers that the state of one sequence holds for each token, and
    once; state_bytes_per_token: bytes of what else it holds for each token (ids). idle: the numbers that a token
    passes by, in experts that were not chosen for it. near: attention with a window.
    """

    matrices: int
    flops_per_key: int = 0
    state_per_token: int = 0
    state_fixed: int = 0
    state_bytes_per_token: int = 0
    flops_per_key_of_all: int = 0
    idle: int = 0
    near: tuple[Near, ...] = ()

    def __add__(self, other: "Costs") -> "Costs":
        """Both together: each token goes through both."""
        names = [field.name for field in fields(self)]
        return Costs(*(getattr(self, name) + getattr(other, name) for name in names))
