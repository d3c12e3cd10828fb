"""A linear layer whose matrix is stored in few bits, in plain PyTorch: for any device, with gradients to its input.

    y = x Wᵀ + b            W: some rows at a time are made of scales and whole numbers, used, and forgotten

For many rows of x (a prompt, a batch of texts) this costs little beside the product itself. For one row it costs more
than the product; the compiled kernels (`nextword/nn/kernels`) then read the stored numbers themselves. W has no
gradient; adapters beside it have (Dettmers et al., "QLoRA", 2023).
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from nextword.nn.tiles import Tiles, back, product, spans
from nextword.quant import format as formats


class Stored(nn.Module):
    """A module with `codes` and `scales`: a change of type is one of what is computed, not of what is stored."""

    codes: Tensor
    scales: Tensor

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Stored":
        scales = self.scales
        super()._apply(fn, recurse)
        self.scales = scales.to(self.codes.device)
        return self


class QuantisedLinear(Stored):
    """x (..., in_features) -> (..., out_features)."""

    def __init__(self, in_features: int, out_features: int, bits: int, group: int | None, bias: bool) -> None:
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        self.form = formats.find(bits)
        self.group = self.form.group_of(group, in_features)
        stored = self.form.padded(in_features) * bits // 8
        kind = torch.int8 if bits == 8 else torch.uint8
        self.register_buffer("codes", torch.empty(out_features, stored, dtype=kind))
        groups = self.form.groups(in_features, self.group)
        self.register_buffer("scales", torch.empty(out_features, groups, dtype=self.form.scale))
        self.bias = nn.Parameter(torch.empty(out_features)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        """The product in the type of x."""
        y = _Product.apply(x, self)
        return y if self.bias is None else y + self.bias

    def rows(self, first: int, last: int, dtype: torch.dtype) -> Tensor:
        """Rows first ... last - 1 of the matrix."""
        codes, scales = self.codes[first:last], self.scales[first:last]
        return formats.decode(codes, scales, self.form, self.group, self.in_features, dtype)

    def tiles(self, dtype: torch.dtype) -> Tiles:
        """The whole matrix, some rows at a time."""
        whole = spans(self.out_features, self.in_features)
        return ((span, self.rows(span.start, span.stop, dtype)) for span in whole)

    def dense(self, dtype: torch.dtype = torch.float32) -> Tensor:
        """The whole matrix."""
        return self.rows(0, self.out_features, dtype)

    def extra_repr(self) -> str:
        """What print(model) shows."""
        return f"{self.in_features}, {self.out_features}, bits={self.form.bits}, group={self.group}"


class _Product(torch.autograd.Function):
    """x Wᵀ and its gradient dx = dy W; W is made again for the gradient, not kept."""

    @staticmethod
    def forward(ctx, x, layer):  # noqa: D102
        ctx.layer = layer
        return product(x, layer.tiles(x.dtype), layer.out_features)

    @staticmethod
    def backward(ctx, dy):  # noqa: D102
        return back(dy, ctx.layer.tiles(dy.dtype), ctx.layer.in_features), None


def shrink(linear: nn.Linear, bits: int, group: int | None = None, scales_NG: Tensor | None = None) -> QuantisedLinear:
    """A linear layer with its matrix rounded to the nearest numbers that the format has."""
    fresh = QuantisedLinear(linear.in_features, linear.out_features, bits, group, linear.bias is not None)
    codes, scales = formats.encode(linear.weight.detach(), fresh.form, fresh.group, scales_NG)
    return filled(fresh, codes, scales, linear.bias)


def filled(layer: QuantisedLinear, codes: Tensor, scales: Tensor, bias: Tensor | None) -> QuantisedLinear:
    """The layer with these numbers."""
    layer.codes, layer.scales = codes, scales
    if bias is not None:
        layer.bias = nn.Parameter(bias.detach().clone())
    return layer
