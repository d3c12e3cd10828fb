"""Losses as sums with their counts, and cross-entropy that never holds all logits at once.

The last layer of a language model turns D numbers a position into V scores. With a vocabulary of 50,000 and 4,096
positions these scores are 0.8 GB in fp32, more than the rest of a small model, and nobody needs them all at once: the
loss of a position, `logsumexp(z) - z[label]` with z = W h + b, needs only its own row. So the positions are taken in
chunks whose scores fit in `LIMIT_BYTES`.

    d nll / d z = softmax(z) - onehot(label)           and behind a cap z = c · tanh(r / c):  d z / d r = 1 - (z / c)²

Whoever trains sums the losses, or takes their mean: every position's loss gets the same gradient g. So the gradients
of h, W and b for g = 1 are added up while the scores of a chunk are there, and only multiplied with g afterwards: three
products in place of the four that computing the scores again would take (Hsu et al., "Liger Kernel", 2024; Wijmans et
al., "Cut Your Losses", 2024). Where positions turn out to have different gradients, and for a second backward pass,
chunks are computed again (Chen et al., "Training deep nets with sublinear memory cost", 2016).
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from nextword.nn.tiles import linear, times

LIMIT_BYTES = 64_000_000  # no buffer of scores is larger (but for a vocabulary of which a single row is)
IGNORED = -100  # the label of a position that is not to be predicted (the convention of PyTorch and Hugging Face)


class Term(NamedTuple):
    """One part of a loss: a sum over predictions, how many they were, and the weight of their mean in the whole.

    Keeping sum and count apart makes gradient accumulation and data parallelism exact: sums add up, counts add up, and
    the division happens once, over everything (the mean of micro-batch means is wrong when their counts differ).
    """

    total: Tensor
    count: Tensor
    weight: float = 1.0


Loss = dict[str, Term]


def linear_cross_entropy(
    hidden_ND: Tensor, weight_VD: Tensor, labels_N: Tensor, bias_V: Tensor | None = None, cap: float | None = None
) -> Tensor:
    """The negative log-likelihood of each label in nats, (N,), fp32: cross-entropy of `hidden W^T + b`, not averaged.

    labels_N: int64 in [0, V), or -100 where nothing is to be predicted: 0 there, and no gradient. cap: scores are kept
    within ±cap, cap · tanh(z / cap) (Gemma 2, 2024). The matrix products run in the dtype of hidden_ND, the softmax and
    the sums over chunks in fp32.

    >>> scores = torch.tensor([[.1, .6, .1, .15, .05]]).log()  # p = .6 for the second class costs 0.51 nats
    >>> round(linear_cross_entropy(scores, torch.eye(5), torch.tensor([1])).item(), 2)
    0.51
    """
    kept_M = labels_N != IGNORED
    if kept_M.all():
        return _nll(hidden_ND, weight_VD, labels_N, bias_V, cap)
    places_M = kept_M.nonzero().squeeze(1)
    nll_M = _nll(hidden_ND[places_M], weight_VD, labels_N[places_M], bias_V, cap)
    return nll_M.new_zeros(labels_N.shape).index_copy(0, places_M, nll_M)


@torch.no_grad()
def gradients(
    hidden_ND: Tensor, weight_VD: Tensor, labels_N: Tensor, bias_V: Tensor | None = None, cap: float | None = None
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """The losses, as `linear_cross_entropy` of labels none of which is -100, and the gradients of their sum.

    Those of the hidden vectors, and in fp32 those of matrix and bias.
    """
    nll_N, *found = _Head(hidden_ND, weight_VD, labels_N, bias_V, cap).gradients((True, True, bias_V is not None))
    return nll_N, *found


def _nll(hidden_ND: Tensor, weight_VD: Tensor, labels_N: Tensor, bias_V: Tensor | None, cap: float | None) -> Tensor:
    if torch.is_grad_enabled():
        return _LinearCrossEntropy.apply(hidden_ND, weight_VD, labels_N, bias_V, cap)
    return _Head(hidden_ND, weight_VD, labels_N, bias_V, cap).nll()


class _Head:
    """One call's tensors, and what is made of them chunk by chunk; gradients are summed in fp32.

    A chunk holds as many rows as fit in the limit as the product gives them; `pieces` of it do so in fp32.
    """

    def __init__(self, hidden_ND, weight_VD, labels_N, bias_V, cap) -> None:
        self.hidden_ND, self.weight_VD, self.labels_N, self.bias_V, self.cap = (
            hidden_ND, weight_VD, labels_N, bias_V, cap)  # fmt: skip
        self.wide = torch.promote_types(hidden_ND.dtype, torch.float32)

    def parts(self, whole: slice, dtype: torch.dtype) -> list[slice]:
        """The rows of `whole`, as many at a time as their scores in `dtype` fit in the limit."""
        rows = max(1, LIMIT_BYTES // (len(self.weight_VD) * dtype.itemsize))
        return [slice(at, min(at + rows, whole.stop)) for at in range(whole.start, whole.stop, rows)]

    def chunks(self) -> Iterator[tuple[slice, Tensor]]:
        """Rows and their scores before the cap, one after the other."""
        for chunk in self.parts(slice(0, len(self.labels_N)), self.hidden_ND.dtype):
            yield chunk, linear(self.hidden_ND[chunk], self.weight_VD, self.bias_V)

    def pieces(self, chunk: slice, r_NV: Tensor) -> Iterator[tuple[slice, Tensor, Tensor]]:
        """Rows of a chunk, their scores before the cap (a view), and these in fp32 behind it."""
        for piece in self.parts(chunk, self.wide):
            r_MV = r_NV[piece.start - chunk.start : piece.stop - chunk.start]
            z_MV = r_MV.to(self.wide)
            yield piece, r_MV, z_MV if self.cap is None else z_MV.div_(self.cap).tanh_().mul_(self.cap)

    def nll(self) -> Tensor:
        """The losses, no gradients."""
        nll_N = self.hidden_ND.new_empty(self.labels_N.shape, dtype=self.wide)
        for chunk, r_NV in self.chunks():
            for piece, _, z_MV in self.pieces(chunk, r_NV):
                torch.log_softmax(z_MV, -1, out=z_MV)
                nll_N[piece] = z_MV.gather(1, self.labels_N[piece, None]).squeeze(1).neg_()
        return nll_N

    def gradients(self, wanted: tuple[bool, bool, bool], grad_N: Tensor | None = None) -> tuple[Tensor | None, ...]:
        """The losses, and the gradients of those of hidden, weight and bias that are `wanted`.

        grad_N: the losses' own gradients; 1 for all if left out.
        """
        nll_N = self.hidden_ND.new_empty(self.labels_N.shape, dtype=self.wide)
        for_hidden, for_weight, for_bias = wanted
        hidden_grad_ND = torch.empty_like(self.hidden_ND) if for_hidden else None
        weight_grad_VD = torch.zeros_like(self.weight_VD, dtype=self.wide) if for_weight else None
        bias_grad_V = torch.zeros_like(self.bias_V, dtype=self.wide) if for_bias else None
        for chunk, dr_NV in self.chunks():  # scores, which become their gradients in place
            for piece, dr_MV, z_MV in self.pieces(chunk, dr_NV):
                nll_N[piece], dz_MV = self.slopes(z_MV, self.labels_N[piece, None])
                if grad_N is not None:
                    dz_MV *= grad_N[piece, None]
                if bias_grad_V is not None:
                    bias_grad_V += dz_MV.sum(0)
                if dr_MV.dtype != dz_MV.dtype:
                    dr_MV.copy_(dz_MV)
            if hidden_grad_ND is not None:
                hidden_grad_ND[chunk] = times(dr_NV, self.weight_VD)
            if weight_grad_VD is not None and dr_NV.dtype == self.wide:
                weight_grad_VD.addmm_(dr_NV.T, self.hidden_ND[chunk])
            elif weight_grad_VD is not None:
                weight_grad_VD += dr_NV.T @ self.hidden_ND[chunk]
        return nll_N, hidden_grad_ND, weight_grad_VD, bias_grad_V

    def slopes(self, z_MV: Tensor, label_M1: Tensor) -> tuple[Tensor, Tensor]:
        """The losses, and in place of the scores the losses' derivatives by what the product gave."""
        label_score_M, highest_M = z_MV.gather(1, label_M1).squeeze(1), z_MV.amax(1)
        curve_MV = None if self.cap is None else (z_MV / self.cap).square_().neg_().add_(1)
        torch.softmax(z_MV, -1, out=z_MV)
        # the highest score's own p = e^highest / sum is never too small for its logarithm, as a label's may be
        nll_M = highest_M - z_MV.amax(1).log_() - label_score_M
        z_MV.scatter_add_(1, label_M1, z_MV.new_full(label_M1.shape, -1.0))
        return nll_M, z_MV if curve_MV is None else z_MV.mul_(curve_MV)


class _LinearCrossEntropy(torch.autograd.Function):
    """Gradients for a gradient of 1 are kept with the graph, and given away scaled to the first who asks."""

    @staticmethod
    def forward(ctx, hidden_ND, weight_VD, labels_N, bias_V, cap):
        ctx.wanted = (ctx.needs_input_grad[0], ctx.needs_input_grad[1], ctx.needs_input_grad[3])
        ctx.cap = cap
        ctx.save_for_backward(hidden_ND, weight_VD, labels_N, bias_V)
        head = _Head(hidden_ND, weight_VD, labels_N, bias_V, cap)
        ctx.ready = None
        if not any(ctx.wanted):
            return head.nll()
        nll_N, *ctx.ready = head.gradients(ctx.wanted)
        return nll_N

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_N):
        ready, ctx.ready = ctx.ready, None
        if ready is not None and len(grad_N) and bool((grad_N == grad_N[0]).all()):
            found = [None if tensor is None else tensor.mul_(grad_N[0]) for tensor in ready]
        else:
            del ready  # before others are made
            _, *found = _Head(*ctx.saved_tensors, ctx.cap).gradients(ctx.wanted, grad_N)
        _, weight_VD, _, bias_V = ctx.saved_tensors
        hidden_grad_ND, weight_grad_VD, bias_grad_V = found
        weight_grad_VD = None if weight_grad_VD is None else weight_grad_VD.to(weight_VD.dtype)
        bias_grad_V = None if bias_grad_V is None else bias_grad_V.to(bias_V.dtype)
        return hidden_grad_ND, weight_grad_VD, None, bias_grad_V, None
