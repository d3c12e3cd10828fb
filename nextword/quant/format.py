"""Weights as whole numbers with a scale: w ≈ s · q.

q is one of 2^bits whole numbers around 0, s is shared by a *group* of neighbours in a row of the matrix (one output of
the layer), so that one large weight coarsens only its group. Rounding to the nearest q errs by at most s/2 inside the
grid. The best s is not the one that just reaches the largest weight: a slightly smaller one cuts that weight off and
makes all others finer. So s is searched among SEARCHED multiples of it for the least

    Σ_k h_k (w_k − s q_k)²            h_k: how much input k matters, 1 where nothing is known (see `calibrate`)

(Choukroun et al., "Low-bit Quantization of Neural Networks for Efficient Inference", 2019.) The grid has one more
number below 0 than above, and s may be negative: then the weight of largest size, whatever its sign, lies on the
grid's far end (as in llama.cpp's Q4_0).

Zero-points or minima are left out on purpose: they cost as many bytes as groups of half the size, and more sums.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from nextword.core.registry import part

FORMATS = "nextword.quant.formats"
SEARCHED = torch.linspace(0.7, 1.05, 15)  # of the scale that reaches the largest weight
ROWS_NUMBERS = 1 << 22  # weights that are searched together


@dataclass(frozen=True)
class Format:
    """A way to store the rows of a matrix.

    lowest, highest: of the whole numbers. scale: the type of scales. grouped: whether a row has several; otherwise one.
    block: rows are padded with zeros to a multiple of it. pack, unpack: whole numbers (N, K) int8 to what is stored,
    and back.
    """

    bits: int
    lowest: int
    highest: int
    scale: torch.dtype
    grouped: bool
    block: int
    pack: Callable[[Tensor], Tensor]
    unpack: Callable[[Tensor], Tensor]

    def group_of(self, group: int | None, width: int) -> int:
        """How many weights of a row of `width` share a scale."""
        return (group or width) if self.grouped else self.padded(width)

    def groups(self, width: int, group: int) -> int:
        """The scales of a row of `width` weights."""
        return -(-self.padded(width) // group)

    def padded(self, width: int) -> int:
        """The numbers that a row of `width` weights is stored as."""
        return -(-width // self.block) * self.block


def find(bits: int) -> Format:
    """The format of so many bits."""
    return part(FORMATS, f"int{bits}", "FORMAT")  # type: ignore[return-value]


def in_groups(x_NK: Tensor, form: Format, group: int) -> Tensor:
    """(N, G, group), filled up with zeros."""
    width = x_NK.shape[1]
    missing = form.groups(width, group) * group - width
    return torch.nn.functional.pad(x_NK, (0, missing)).unflatten(1, (-1, group))


def scales_of(weight_NK: Tensor, form: Format, group: int, matters_K: Tensor | None = None) -> Tensor:
    """The best scale of every group, (N, G), in the format's type; a group of zeros gets 1."""
    rows = max(1, ROWS_NUMBERS // weight_NK.shape[1])
    matters_1GK = None if matters_K is None else in_groups(matters_K[None], form, group)
    return torch.cat([_searched(in_groups(part, form, group), form, matters_1GK) for part in weight_NK.split(rows)])


def _searched(w_NGK: Tensor, form: Format, matters_1GK: Tensor | None) -> Tensor:
    w_NGK = w_NGK.float()
    largest_NG1 = w_NGK.gather(-1, w_NGK.abs().argmax(-1, keepdim=True))
    reaching_NG1 = largest_NG1 / form.lowest
    reaching_NG1 = torch.where(reaching_NG1 == 0, 1.0, reaching_NG1)
    best_NG1, least_NG1 = torch.ones_like(reaching_NG1), torch.full_like(reaching_NG1, torch.inf)
    for share in SEARCHED.to(w_NGK.device):
        scale_NG1 = (reaching_NG1 * share).to(form.scale).float()
        scale_NG1 = torch.where(scale_NG1 == 0, 1.0, scale_NG1)  # beyond the smallest number of the type
        error_NGK = (rounded(w_NGK, scale_NG1, form) * scale_NG1 - w_NGK).square_()
        error_NG1 = (error_NGK if matters_1GK is None else error_NGK * matters_1GK).sum(-1, keepdim=True)
        better = error_NG1 < least_NG1
        best_NG1, least_NG1 = torch.where(better, scale_NG1, best_NG1), torch.where(better, error_NG1, least_NG1)
    return best_NG1.squeeze(-1).to(form.scale)


def rounded(w: Tensor, scale: Tensor, form: Format) -> Tensor:
    """The nearest whole numbers of the grid, as floats."""
    return (w / scale).round_().clamp_(form.lowest, form.highest)


def encode(weight_NK: Tensor, form: Format, group: int, scales_NG: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """What is stored of a matrix: packed whole numbers and scales (N, G); given scales are taken as they are."""
    scales_NG = scales_of(weight_NK, form, group) if scales_NG is None else scales_NG
    rows = max(1, ROWS_NUMBERS // weight_NK.shape[1])
    parts = []
    for w_NK, s_NG in zip(weight_NK.split(rows), scales_NG.split(rows), strict=True):
        q_NGK = rounded(in_groups(w_NK.float(), form, group), s_NG.float().unsqueeze(-1), form)
        parts.append(store(q_NGK.flatten(1)[:, : weight_NK.shape[1]], form))
    return torch.cat(parts), scales_NG


def store(q_NK: Tensor, form: Format) -> Tensor:
    """Whole numbers, packed in padded rows."""
    width = q_NK.shape[1]
    return form.pack(torch.nn.functional.pad(q_NK.to(torch.int8), (0, form.padded(width) - width)))


def decode(codes: Tensor, scales_NG: Tensor, form: Format, group: int, width: int, dtype: torch.dtype) -> Tensor:
    """The weights of the stored rows, (N, width)."""
    q_NK = form.unpack(codes)[:, :width].to(dtype)
    scales_NG = scales_NG.to(dtype)
    whole = width - width % group
    q_NK[:, :whole].unflatten(1, (-1, group)).mul_(scales_NG[:, : whole // group].unsqueeze(-1))
    if whole < width:
        q_NK[:, whole:].mul_(scales_NG[:, whole // group, None])
    return q_NK
