"""RoPE: a query and a key are turned by angles that grow with their position, so their product depends on the distance.

The E coordinates of a head form E/2 pairs; pair k of position t is rotated by t·θ_k with θ_k = base^(−2k/E), one angle
per pair (Su et al., "RoFormer", 2021). Pairs are (k, k + E/2), "half rotation", as in Hugging Face's Llama; weights
that pair neighbours (2k, 2k + 1) are permuted when they are read. Some models turn only the first R < E coordinates
(GPT-J, GPT-NeoX, Phi); θ then goes by R.

To read texts longer than those trained on, the frequencies are scaled; each way is a small frozen dataclass below:

| kind | idea | source |
|---|---|---|
| Plain | θ_k as it is | RoFormer |
| Linear | positions divided by `factor` | Chen et al., "Position Interpolation", 2023 |
| DynamicNTK | the base grows with the length, once that is beyond the trained one | bloc97, emozilla, 2023 |
| Llama3 | low frequencies divided, high ones kept, a ramp between | Llama 3.1, 2024 |
| Yarn | a ramp over the pairs' numbers of turns, and warmer attention | Peng et al., "YaRN", 2023 |
| LongRope | a divisor for each pair, another beyond the trained length | Ding et al., "LongRoPE", 2024 |
| Within | θ_k as it is, and no longer texts | |
"""

import math
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from nextword.core.errors import SettingsError


class Scaling(Protocol):
    """How the frequencies of the pairs follow from the base and the width of a head."""

    @property
    def gain(self) -> float:
        """What cosines and sines are multiplied with (YaRN's temperature); 1 elsewhere."""
        ...

    def frequencies(self, base: float, head_width: int) -> Tensor:
        """θ_k for every pair, fp32, (E/2)."""
        ...


def plain_frequencies(base: float, head_width: int) -> Tensor:
    """θ_k = base^(−2k/E), fp32, (E/2)."""
    return 1.0 / base ** (torch.arange(0, head_width, 2, dtype=torch.float32, device="cpu") / head_width)


@dataclass(frozen=True)
class Plain:
    """No scaling."""

    gain: float = 1.0

    def frequencies(self, base: float, head_width: int) -> Tensor:
        """θ_k."""
        return plain_frequencies(base, head_width)


@dataclass(frozen=True)
class Linear:
    """Positions are squeezed: all frequencies divided by `factor`."""

    factor: float
    gain: float = 1.0

    def frequencies(self, base: float, head_width: int) -> Tensor:
        """θ_k / factor."""
        return plain_frequencies(base, head_width) / self.factor


@dataclass(frozen=True)
class DynamicNTK:
    """Beyond `trained_length` L the base becomes base·(factor·n/L − (factor − 1))^(E/(E−2)) for a text of n tokens."""

    factor: float
    trained_length: int
    gain: float = 1.0

    def frequencies(self, base: float, head_width: int) -> Tensor:
        """θ_k for texts within the trained length."""
        return plain_frequencies(base, head_width)

    def stretched(self, base: float, head_width: int, lengths_B: Tensor) -> Tensor:
        """θ_k for each row by its number of tokens, fp32, (B, E/2)."""
        lengths_B = lengths_B.clamp(min=self.trained_length).float()
        growth_B = self.factor * lengths_B / self.trained_length - (self.factor - 1)
        base_B = base * growth_B ** (head_width / (head_width - 2))
        exponents = torch.arange(0, head_width, 2, dtype=torch.float32, device=lengths_B.device) / head_width
        return 1.0 / base_B[:, None] ** exponents


@dataclass(frozen=True)
class Llama3:
    """Waves longer than trained_length/low_factor are divided by `factor`, those shorter than /high_factor kept."""

    factor: float
    low_factor: float
    high_factor: float
    trained_length: int
    gain: float = 1.0

    def frequencies(self, base: float, head_width: int) -> Tensor:
        """θ_k, blended between θ_k/factor and θ_k by how many waves fit into the trained length."""
        theta = plain_frequencies(base, head_width)
        waves = self.trained_length / (2 * math.pi / theta)
        kept = ((waves - self.low_factor) / (self.high_factor - self.low_factor)).clamp(0, 1)
        return (1 - kept) * theta / self.factor + kept * theta


@dataclass(frozen=True)
class Yarn:
    """Pairs that turn more than `fast` times within the trained length are kept, fewer than `slow` divided."""

    factor: float
    trained_length: int
    fast: float = 32.0
    slow: float = 1.0
    truncate: bool = True
    gain: float = 1.0

    def frequencies(self, base: float, head_width: int) -> Tensor:
        """θ_k, blended between θ_k/factor and θ_k by a ramp over k."""
        low, high = (self.pair_of(turns, base, head_width) for turns in (self.fast, self.slow))
        if self.truncate:
            low, high = math.floor(low), math.ceil(high)
        low, high = max(low, 0), min(high, head_width - 1)
        if low == high:
            high += 0.001  # a ramp needs a width
        pairs = torch.arange(head_width // 2, dtype=torch.float32, device="cpu")
        kept = 1 - ((pairs - low) / (high - low)).clamp(0, 1)
        powers = base ** (torch.arange(0, head_width, 2, dtype=torch.float32, device="cpu") / head_width)
        return (1 / (self.factor * powers)) * (1 - kept) + (1 / powers) * kept

    def pair_of(self, turns: float, base: float, head_width: int) -> float:
        """The (fractional) number k of the pair that makes so many turns within the trained length."""
        return head_width * math.log(self.trained_length / (turns * 2 * math.pi)) / (2 * math.log(base))


@dataclass(frozen=True)
class LongRope:
    """Pair k is slowed by short[k] in texts within the trained length, by long[k] in longer ones."""

    short: tuple[float, ...]
    long: tuple[float, ...]
    trained_length: int
    gain: float = 1.0

    def frequencies(self, base: float, head_width: int) -> Tensor:
        """θ_k for texts within the trained length."""
        return self._divided(self.short, base, head_width)

    def stretched(self, base: float, head_width: int, lengths_B: Tensor) -> Tensor:
        """θ_k for each row by its number of tokens, fp32, (B, E/2)."""
        short_E, long_E = (self._divided(x, base, head_width).to(lengths_B.device) for x in (self.short, self.long))
        return torch.where((lengths_B > self.trained_length)[:, None], long_E, short_E)

    @staticmethod
    def _divided(factors: tuple[float, ...], base: float, head_width: int) -> Tensor:
        powers = base ** (torch.arange(0, head_width, 2, dtype=torch.float32, device="cpu") / head_width)
        return 1.0 / (torch.tensor(factors, dtype=torch.float32, device="cpu") * powers)


@dataclass(frozen=True)
class Within:
    """No scaling up to `trained_length`; `reason`: what changes the numbers of longer texts, which are refused."""

    trained_length: int
    reason: str
    gain: float = 1.0

    def frequencies(self, base: float, head_width: int) -> Tensor:
        """θ_k."""
        return plain_frequencies(base, head_width)

    def stretched(self, base: float, head_width: int, lengths_B: Tensor) -> Tensor:
        """θ_k for each row, (B, E/2): padding may lead beyond the length; SettingsError where a text does."""
        longest = int(lengths_B.max())
        if longest > self.trained_length:
            raise SettingsError(
                f"a text of {longest} tokens is longer than the {self.trained_length} within which nextword computes "
                f"this model ({self.reason} change what is beyond): shorten it"
            )
        return plain_frequencies(base, head_width).to(lengths_B.device).expand(len(lengths_B), -1)


# scalings by which a text beyond the trained length has frequencies of its own, or none
STRETCHING = (DynamicNTK, LongRope, Within)


@dataclass(frozen=True)
class RopeSettings:
    """The base of the angles and how they are scaled."""

    base: float = 10_000.0
    scaling: Scaling = field(default_factory=Plain)


class Rotation:
    """The cosines and sines of positions, computed once and kept in a table that grows with the texts."""

    def __init__(self, settings: RopeSettings, head_width: int) -> None:
        self.settings, self.head_width = settings, head_width
        self.cos_SE = self.sin_SE = torch.empty(0, head_width // 2)

    def table(self, length: int, like: Tensor) -> tuple[Tensor, Tensor]:
        """cos_TE and sin_TE (E/2 wide) of the positions 0 .. length - 1, of the type and on the device of `like`."""
        known = self.cos_SE
        if len(known) < length or known.dtype != like.dtype or known.device != like.device:
            with torch.inference_mode(False), torch.no_grad():  # the table outlives the call that asks for it
                theta = self.settings.scaling.frequencies(self.settings.base, self.head_width).to(like.device)
                size = max(length, 2 * len(known)) if len(known) < length else len(known)
                angles = torch.arange(size, dtype=torch.float32, device=like.device)[:, None] * theta
                self.cos_SE, self.sin_SE = self.waves(angles, like)
        return self.cos_SE[:length], self.sin_SE[:length]

    def stretches(self, longest: int) -> bool:
        """Whether a text of `longest` tokens has frequencies of its own."""
        scaling = self.settings.scaling
        return isinstance(scaling, STRETCHING) and longest > scaling.trained_length

    def at(self, positions_BT: Tensor, longest: int, lengths_B: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        """cos_BTE and sin_BTE (E/2 wide) of the positions; `longest` and `lengths_B` count each row's tokens so far."""
        if self.stretches(longest):
            theta_BE = self.settings.scaling.stretched(self.settings.base, self.head_width, lengths_B)
            return self.waves(positions_BT[..., None].float() * theta_BE[:, None], like)
        cos_SE, sin_SE = self.table(longest, like)
        return cos_SE[positions_BT], sin_SE[positions_BT]

    def waves(self, angles: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        """Cosine and sine of fp32 angles times the gain, in the type of `like`."""
        gain = self.settings.scaling.gain
        return (angles.cos() * gain).to(like.dtype), (angles.sin() * gain).to(like.dtype)


def rotate(x_BHTE: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turns every pair (k, k + E/2) by its angle; cos and sin are (T, E/2) or (B, 1, T, E/2). Gives contiguous BHTE."""
    if torch.compiler.is_compiling():  # a compiler fuses the plain formula, and cannot follow what writes into halves
        first, second = x_BHTE.chunk(2, -1)
        return torch.cat((first * cos - second * sin, second * cos + first * sin), -1)
    if torch.is_grad_enabled() and x_BHTE.requires_grad:
        return _Rotate.apply(x_BHTE, cos, sin)
    return _turn(x_BHTE, cos, sin, torch.empty(x_BHTE.shape, dtype=x_BHTE.dtype, device=x_BHTE.device))


def rotate_first(x_BHTE: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """`rotate` of the first coordinates, twice as many as an angle each has; the others stay."""
    width = 2 * cos.shape[-1]
    return torch.cat((rotate(x_BHTE[..., :width], cos, sin), x_BHTE[..., width:]), -1)


def _turn(x_BHTE: Tensor, cos: Tensor, sin: Tensor, out: Tensor) -> Tensor:
    first, second = x_BHTE.chunk(2, -1)
    left, right = out.chunk(2, -1)
    torch.mul(first, cos, out=left).addcmul_(second, sin, value=-1)
    torch.mul(second, cos, out=right).addcmul_(first, sin)
    return out


class _Rotate(torch.autograd.Function):
    """The gradient of a rotation is the rotation back; two passes over memory in place of autograd's eight."""

    @staticmethod
    def forward(ctx, x_BHTE, cos, sin):  # noqa: D102
        ctx.save_for_backward(cos, sin)
        return _turn(x_BHTE, cos, sin, torch.empty(x_BHTE.shape, dtype=x_BHTE.dtype, device=x_BHTE.device))

    @staticmethod
    def backward(ctx, grad_BHTE):  # noqa: D102
        cos, sin = ctx.saved_tensors
        rows, heads, time, width = grad_BHTE.shape
        # laid out as the projection before it wrote it (B, T, H, E): its backward then needs no copy
        back = torch.empty(rows, time, heads, width, dtype=grad_BHTE.dtype, device=grad_BHTE.device)
        return _turn(grad_BHTE, cos, sin.neg(), back.transpose(1, 2)), None, None
