"""Rounding with a text at hand: what one weight is rounded off by, those after it in the row make good (GPTQ).

Rounding to nearest keeps each weight near itself; what counts is that the layer's outputs stay near themselves. With
inputs x from a text, the squared error of a row's output is (w − ŵ) H (w − ŵ)ᵀ, H = Σ x xᵀ. Going through the columns
k, the remaining weights take over the error of column k in the way that keeps this least,

    e_k = (w_k − ŵ_k) / U_kk        w_j ← w_j − e_k U_kj   for j after k        U: upper Cholesky factor of H⁻¹

(Frantar et al., "GPTQ", 2022, whose steps this follows: columns in blocks of 128, so that most of the update is one
matrix product; DAMPING of the mean of H's diagonal is added to it, since rare inputs make it nearly singular.) The
columns that matter most come first, while many weights are left to make good for them; scales are found before, with
the diagonal of H saying what matters ("act order" with static groups, in their words).

Layers are quantised in the order in which they run, each with the inputs that the quantised layers before it give.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from nextword.core.errors import SettingsError
from nextword.models.base import Batch
from nextword.models.family import Storable
from nextword.models.stack import Stack
from nextword.quant import format as formats
from nextword.quant import model as whole
from nextword.quant.linear import QuantisedLinear, filled
from nextword.quant.model import Quantisation

DAMPING = 0.01
TOGETHER = 128  # columns whose updates of the rest are made as one product
Inputs = list[tuple[Any, ...]]  # of a block, batch by batch: the stream x_BTD, then what else it is called with


def calibrate(model: Storable, wanted: Quantisation, batches: Sequence[Tensor]) -> Iterator[str]:
    """Quantises a decoder or encoder in place with texts, ids_BT; yields the name of each layer that is done."""
    prepared = whole.prepare(model)
    if not isinstance(prepared, Stack) or prepared.settings.order is not None:
        raise SettingsError("only decoders and encoders whose layers have weights of their own are calibrated")
    with torch.inference_mode():
        inputs = entering(prepared, [Batch(ids_BT) for ids_BT in batches])
        for number, block in enumerate(prepared.blocks):
            moments = gathered(block, inputs[number])
            for name, linear in list(whole.matrices(prepared)):
                if name.startswith(f"blocks.{number}."):
                    whole.put(prepared, name, shrink(linear, wanted, moments[linear]))
                    yield name
            after = [block(*given) for given in inputs[number]]
            if number + 1 < len(inputs):
                inputs[number + 1] = [(x_BTD, *rest[1:]) for x_BTD, rest in zip(after, inputs[number + 1], strict=True)]
            inputs[number] = []
        yield from whole.quantise_edges(prepared, wanted)


def entering(model: Stack, batches: Sequence[Batch]) -> list[Inputs]:
    """What each block is called with, by block and batch; of the stream only the first block's is kept."""
    found: list[Inputs] = [[] for _ in model.blocks]

    def note(number: int) -> Callable[[nn.Module, tuple[Any, ...]], None]:
        def hook(block: nn.Module, given: tuple[Any, ...]) -> None:
            found[number].append(given if number == 0 else (None, *given[1:]))

        return hook

    hooks = [block.register_forward_pre_hook(note(number)) for number, block in enumerate(model.blocks)]
    try:
        for batch in batches:
            model.hidden(batch)
    finally:
        for hook in hooks:
            hook.remove()
    return found


def gathered(block: nn.Module, inputs: Inputs) -> dict[nn.Module, Tensor]:
    """H of every linear layer in a block, (K, K) in fp32."""
    moments: dict[nn.Module, Tensor] = {}

    def note(linear: nn.Module, given: tuple[Tensor, ...]) -> None:
        x_NK = given[0].flatten(0, -2).float()
        product_KK = x_NK.T @ x_NK
        moments[linear] = moments[linear] + product_KK if linear in moments else product_KK

    linears = [module for module in block.modules() if isinstance(module, nn.Linear)]
    hooks = [linear.register_forward_pre_hook(note) for linear in linears]
    try:
        for given in inputs:
            block(*given)
    finally:
        for hook in hooks:
            hook.remove()
    for linear in linears:
        if linear not in moments:  # of an expert that no token was sent to
            moments[linear] = torch.eye(linear.in_features)
    return moments


def shrink(linear: nn.Linear, wanted: Quantisation, moment_KK: Tensor) -> QuantisedLinear:
    """A linear layer with its matrix rounded so that its outputs for inputs of that second moment stay near."""
    bias = linear.bias is not None
    fresh = QuantisedLinear(linear.in_features, linear.out_features, wanted.bits, wanted.group, bias)
    diagonal_K = moment_KK.diagonal()
    weight_NK = linear.weight.detach().float()
    scales_NG = formats.scales_of(weight_NK, fresh.form, fresh.group, diagonal_K)
    order_K = diagonal_K.argsort(descending=True)
    scales_NK = scales_NG.float().repeat_interleave(fresh.group, 1)[:, order_K]
    upper_KK = inverse_factor(moment_KK[order_K][:, order_K])
    q_NK = round_columns(weight_NK[:, order_K], scales_NK, upper_KK, fresh.form)
    codes = formats.store(q_NK[:, order_K.argsort()], fresh.form)
    return filled(fresh, codes, scales_NG, linear.bias)


def inverse_factor(moment_KK: Tensor) -> Tensor:
    """The upper Cholesky factor of the inverse of H, damped; an input that never was anything but 0 counts as 1."""
    moment_KK = moment_KK.double()
    diagonal_K = moment_KK.diagonal()
    diagonal_K += DAMPING * diagonal_K.mean() + (diagonal_K == 0)
    inverse_KK = torch.cholesky_inverse(torch.linalg.cholesky(moment_KK))
    return torch.linalg.cholesky(inverse_KK, upper=True).float()


def round_columns(weight_NK: Tensor, scales_NK: Tensor, upper_KK: Tensor, form: formats.Format) -> Tensor:
    """The whole numbers of the columns, first to last, each after the errors of those before it are made good."""
    weight_NK, q_NK = weight_NK.clone(), torch.empty_like(weight_NK)
    for first in range(0, weight_NK.shape[1], TOGETHER):
        last = min(first + TOGETHER, weight_NK.shape[1])
        block_NB, errors_NB = weight_NK[:, first:last], torch.empty_like(weight_NK[:, first:last])
        for k in range(last - first):
            row_B = upper_KK[first + k, first:last]
            scale_N = scales_NK[:, first + k]
            q_N = formats.rounded(block_NB[:, k], scale_N, form)
            errors_NB[:, k] = (block_NB[:, k] - q_N * scale_N) / row_B[k]
            block_NB[:, k + 1 :] -= errors_NB[:, k, None] * row_B[k + 1 :]
            q_NK[:, first + k] = q_N
        weight_NK[:, last:] -= errors_NB @ upper_KK[first:last, last:]
    return q_NK
