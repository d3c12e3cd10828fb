"""Losses as sums with their counts, and cross-entropy that never holds all logits at once.

The last layer of a language model turns D numbers a position into V scores. With a vocabulary of 50,000 and 4,096
positions these scores are 0.8 GB in fp32, more than the rest of a small model, and nobody needs them all at once: the
loss of a position, `logsumexp(W h + b) - (W h + b)[label]`, needs only its own row. So the positions are taken in
chunks whose scores fit in `LIMIT_BYTES`, and the backward pass computes them again chunk by chunk (Chen et al. 2016,
"Training deep nets with sublinear memory cost"). Where all scores fit in one chunk they are kept instead.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

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
    hidden_ND: Tensor, weight_VD: Tensor, labels_N: Tensor, bias_V: Tensor | None = None
) -> Tensor:
    """The negative log-likelihood of each label in nats, (N,), fp32: cross-entropy of `hidden W^T + b`, not averaged.

    labels_N: int64 in [0, V), or -100 where nothing is to be predicted: 0 there, and no gradient. The matrix products
    run in the dtype of hidden_ND and weight_VD (which must agree), the softmax and the sums over chunks in fp32.

    >>> scores = torch.tensor([[.1, .6, .1, .15, .05]]).log()  # p = .6 for the second class costs 0.51 nats
    >>> round(linear_cross_entropy(scores, torch.eye(5), torch.tensor([1])).item(), 2)
    0.51
    """
    kept_M = labels_N != IGNORED
    if kept_M.all():
        return _LinearCrossEntropy.apply(hidden_ND, weight_VD, labels_N, bias_V)
    places_M = kept_M.nonzero().squeeze(1)
    nll_M = _LinearCrossEntropy.apply(hidden_ND[places_M], weight_VD, labels_N[places_M], bias_V)
    return nll_M.new_zeros(labels_N.shape).index_copy(0, places_M, nll_M)


def _log_softmax(hidden_ND: Tensor, weight_VD: Tensor, bias_V: Tensor | None) -> Tensor:
    logits_NV = torch.nn.functional.linear(hidden_ND, weight_VD, bias_V)
    return torch.log_softmax(logits_NV, -1, dtype=torch.promote_types(logits_NV.dtype, torch.float32))


class _LinearCrossEntropy(torch.autograd.Function):
    """Rows in chunks; d nll / d logits = softmax - onehot(label)."""

    @staticmethod
    def forward(ctx, hidden_ND, weight_VD, labels_N, bias_V):
        wide = torch.promote_types(hidden_ND.dtype, torch.float32)
        ctx.rows = max(1, LIMIT_BYTES // (weight_VD.shape[0] * wide.itemsize))
        nll_N = torch.empty(labels_N.shape, dtype=wide, device=hidden_ND.device)
        logp_NV = None
        for start in range(0, len(labels_N), ctx.rows):
            chunk = slice(start, start + ctx.rows)
            logp_NV = _log_softmax(hidden_ND[chunk], weight_VD, bias_V)
            nll_N[chunk] = -logp_NV.gather(1, labels_N[chunk, None]).squeeze(1)
        whole = len(labels_N) <= ctx.rows and any(ctx.needs_input_grad)
        ctx.save_for_backward(hidden_ND, weight_VD, labels_N, bias_V, logp_NV if whole else None)
        return nll_N

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_N):
        hidden_ND, weight_VD, labels_N, bias_V, kept_NV = ctx.saved_tensors
        for_hidden, for_weight, _, for_bias = ctx.needs_input_grad
        wide = grad_N.dtype
        hidden_grad_ND = torch.empty_like(hidden_ND) if for_hidden else None
        weight_grad_VD = torch.zeros_like(weight_VD, dtype=wide) if for_weight else None
        bias_grad_V = torch.zeros_like(bias_V, dtype=wide) if for_bias else None
        for start in range(0, len(labels_N), ctx.rows):
            chunk = slice(start, start + ctx.rows)
            logp_NV = _log_softmax(hidden_ND[chunk], weight_VD, bias_V) if kept_NV is None else kept_NV
            grad_NV = logp_NV.exp() if kept_NV is not None else logp_NV.exp_()
            grad_NV.scatter_add_(1, labels_N[chunk, None], grad_NV.new_full((len(grad_NV), 1), -1.0))
            grad_NV *= grad_N[chunk, None]
            if bias_grad_V is not None:
                bias_grad_V += grad_NV.sum(0)
            grad_NV = grad_NV.to(weight_VD.dtype)
            if hidden_grad_ND is not None:
                torch.mm(grad_NV, weight_VD, out=hidden_grad_ND[chunk])
            if weight_grad_VD is not None and weight_VD.dtype == wide:
                weight_grad_VD.addmm_(grad_NV.T, hidden_ND[chunk])
            elif weight_grad_VD is not None:
                weight_grad_VD += grad_NV.T @ hidden_ND[chunk]
        weight_grad_VD = None if weight_grad_VD is None else weight_grad_VD.to(weight_VD.dtype)
        bias_grad_V = None if bias_grad_V is None else bias_grad_V.to(bias_V.dtype)
        return hidden_grad_ND, weight_grad_VD, None, bias_grad_V
