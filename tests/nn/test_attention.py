"""Attention against its formula: scaled inside the softmax, causal, heads in groups, however it is computed."""

import pytest
import torch

from nextword.nn.attention import causal_attention, causal_products


def formula(q_BHTE: torch.Tensor, k_BKTE: torch.Tensor, v_BKTE: torch.Tensor) -> torch.Tensor:
    """softmax(QKᵀ/√E)V, one position and head at a time; each position sees itself and those before."""
    rows, heads, time, width = q_BHTE.shape
    group = heads // k_BKTE.shape[1]
    out = torch.zeros_like(q_BHTE)
    for b in range(rows):
        for h in range(heads):
            k, v = k_BKTE[b, h // group], v_BKTE[b, h // group]
            for t in range(time):
                weights = torch.softmax(k[: t + 1] @ q_BHTE[b, h, t] / width**0.5, -1)
                assert abs(weights.sum() - 1) < 1e-5
                out[b, h, t] = weights @ v[: t + 1]
    return out


@pytest.mark.parametrize("attend", [causal_attention, causal_products])
@pytest.mark.parametrize(("heads", "kv_heads"), [(4, 4), (4, 2), (6, 1)])
def test_equals_the_formula(attend: object, heads: int, kv_heads: int) -> None:
    q = torch.randn(2, heads, 7, 6)
    k, v = torch.randn(2, 2, kv_heads, 7, 6)
    assert torch.allclose(attend(q, k, v), formula(q, k, v), atol=1e-6)  # type: ignore[operator]


def test_both_ways_have_the_same_gradient() -> None:
    grads = []
    start = [torch.randn(2, heads, 5, 4) for heads in (4, 2, 2)]
    weight = torch.randn(2, 4, 5, 4)
    for attend in (causal_attention, causal_products):
        leaves = [x.clone().requires_grad_() for x in start]
        (attend(*leaves) * weight).sum().backward()
        grads.append([leaf.grad for leaf in leaves])
    for one, other in zip(*grads, strict=True):
        assert torch.allclose(one, other, atol=1e-6)


def test_products_in_bf16_are_near_fp32() -> None:
    q, k, v = torch.randn(3, 2, 2, 16, 8)
    found = causal_products(q.bfloat16(), k.bfloat16(), v.bfloat16())
    assert (found.float() - causal_attention(q, k, v)).abs().max() < 0.05
