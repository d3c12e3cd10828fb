"""Attention by batched products that keep their weights for the gradient, which is written out.

    P = softmax(Q Kᵀ · scale + bias)            O = P V
    dV = Pᵀ dO      dS = P ⊙ (dP − Σ_s dP ⊙ P)  with dP = dO Vᵀ        dQ = scale · dS K      dK = scale · dSᵀ Q

A flash kernel (Dao et al., "FlashAttention", 2022) keeps no P and computes it again; where P is small, large matrix
products and a softmax in place are faster on a CPU, and only so does a bias get its gradient, the sum of dS over what
it was spread over (autograd would pass over the scores eight times). A causal row sees half of the keys on average:
queries are taken in `BLOCKS` blocks, each with the keys up to its own end, so that little is computed to be hidden.
"""

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

BLOCKS, SHORTEST = 4, 64  # of queries; a block of fewer makes products too small to be fast


def kept_scores(
    q_BHTE: Tensor, k_BKSE: Tensor, v_BKSE: Tensor, bias: Tensor | None, scale: float, causal: bool = False
) -> Tensor:
    """softmax(Q Kᵀ · scale + bias) V; `bias` (B or 1, H or 1, T, S) are numbers, `causal` hides what comes after."""
    return _KeptScores.apply(q_BHTE, k_BKSE, v_BKSE, bias, scale, causal)


def blocks(time: int, causal: bool) -> list[tuple[int, int, int]]:
    """(first query, end of the queries, end of the keys) of each block.

    >>> blocks(130, True)
    [(0, 65, 65), (65, 130, 130)]
    """
    count = max(1, min(BLOCKS, time // SHORTEST)) if causal else 1
    ends = [time * number // count for number in range(count + 1)]
    return [(start, stop, stop) for start, stop in zip(ends, ends[1:], strict=False)]


class _KeptScores(torch.autograd.Function):
    """The heads of a group stand one below the other: N = B · K products of (H/K · queries, E) with (E, keys)."""

    @staticmethod
    def forward(ctx, q_BHTE, k_BKSE, v_BKSE, bias, scale, causal):  # noqa: D102
        rows, heads, time, width = q_BHTE.shape
        groups, span = k_BKSE.shape[1], k_BKSE.shape[2]
        q_NGTE = q_BHTE.reshape(rows * groups, heads // groups, time, width)
        k_NSE, v_NSE = (x.reshape(rows * groups, span, width) for x in (k_BKSE, v_BKSE))
        out_NGTE = torch.empty_like(q_NGTE)
        kept = []
        for start, stop, seen in blocks(time, causal) if causal else [(0, time, span)]:
            q_NXE = q_NGTE[:, :, start:stop].flatten(1, 2)
            p_NXS = torch.bmm(q_NXE, k_NSE[:, :seen].mT).mul_(scale)
            if bias is not None:
                p_NXS.view(rows, heads, time, span).add_(bias)
            if causal:
                hidden_TT = p_NXS.new_full((stop - start,) * 2, float("-inf")).triu_(1)
                p_NXS.unflatten(1, (-1, stop - start))[..., start:] += hidden_TT
            torch.softmax(p_NXS, -1, out=p_NXS)
            out_NGTE[:, :, start:stop] = torch.bmm(p_NXS, v_NSE[:, :seen]).unflatten(1, (-1, stop - start))
            kept.append(p_NXS)
        ctx.save_for_backward(q_NGTE, k_NSE, v_NSE, *kept)
        ctx.scale, ctx.causal, ctx.shape = scale, causal, q_BHTE.shape
        ctx.spread = None if bias is None or not ctx.needs_input_grad[3] else bias.shape
        return out_NGTE.view(q_BHTE.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_BHTE):  # noqa: D102
        q_NGTE, k_NSE, v_NSE, *kept = ctx.saved_tensors
        rows, heads, time, _ = ctx.shape
        span = k_NSE.shape[1]
        grad_NGTE = grad_BHTE.reshape(q_NGTE.shape)
        dq_NGTE, dk_NSE, dv_NSE = (torch.empty_like(x) for x in (q_NGTE, k_NSE, v_NSE))
        parts = blocks(time, True) if ctx.causal else [(0, time, span)]
        for (start, stop, seen), p_NXS in zip(reversed(parts), reversed(kept), strict=True):
            q_NXE, grad_NXE = (x[:, :, start:stop].flatten(1, 2) for x in (q_NGTE, grad_NGTE))
            ds_NXS = torch.bmm(grad_NXE, v_NSE[:, :seen].mT)
            ds_NXS = torch._softmax_backward_data(ds_NXS, p_NXS, -1, p_NXS.dtype)
            dv_NRE, dk_NRE = torch.bmm(p_NXS.mT, grad_NXE), torch.bmm(ds_NXS.mT, q_NXE).mul_(ctx.scale)
            if seen == span:  # the last block, which comes first, sees all keys
                dv_NSE, dk_NSE = dv_NRE, dk_NRE
            else:
                dv_NSE[:, :seen] += dv_NRE
                dk_NSE[:, :seen] += dk_NRE
            dq_NXE = torch.bmm(ds_NXS, k_NSE[:, :seen]).mul_(ctx.scale)
            dq_NGTE[:, :, start:stop] = dq_NXE.unflatten(1, (-1, stop - start))
        dbias = None if ctx.spread is None else ds_NXS.view(rows, heads, time, span).sum_to_size(ctx.spread)
        shape_BKSE = (rows, -1, span, k_NSE.shape[2])
        return dq_NGTE.view(ctx.shape), dk_NSE.view(shape_BKSE), dv_NSE.view(shape_BKSE), dbias, None, None
