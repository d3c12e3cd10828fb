"""Attention that keeps its weights: values against the formula, gradients against differences, in fp64."""

import doctest

import pytest
import torch

from nextword.nn import kept_scores as module
from nextword.nn.kept_scores import kept_scores


@pytest.fixture(autouse=True)
def short_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SHORTEST", 2)


def inputs(kv_heads: int = 2, time: int = 5, span: int = 5) -> list[torch.Tensor]:
    draw = torch.Generator().manual_seed(kv_heads + time)
    shapes = (2, 4, time, 3), (2, kv_heads, span, 3), (2, kv_heads, span, 3)
    return [torch.randn(shape, generator=draw, dtype=torch.float64).requires_grad_() for shape in shapes]


def formula(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, bias: torch.Tensor, scale: float) -> torch.Tensor:
    k, v = (x.repeat_interleave(q.shape[1] // x.shape[1], 1) for x in (k, v))
    return (q @ k.mT * scale + bias).softmax(-1) @ v


@pytest.mark.parametrize("kv_heads", [1, 2, 4])
@pytest.mark.parametrize("time", [1, 5, 9])
def test_causal(kv_heads: int, time: int) -> None:
    q, k, v = inputs(kv_heads, time, time)
    unseen = torch.full((time, time), -torch.inf, dtype=torch.float64).triu(1)
    assert torch.allclose(kept_scores(q, k, v, None, 0.7, True), formula(q, k, v, unseen, 0.7), atol=1e-12)
    assert torch.autograd.gradcheck(lambda *qkv: kept_scores(*qkv, None, 0.7, True), (q, k, v))


@pytest.mark.parametrize("shape", [(1, 4, 3, 5), (2, 1, 3, 5), (1, 1, 3, 5), (2, 4, 3, 5)])
def test_bias_and_its_gradient_however_it_is_spread(shape: tuple[int, ...]) -> None:
    q, k, v = inputs(time=3)
    bias = torch.randn(shape, dtype=torch.float64)
    bias[..., 0, 2:] = -torch.inf  # hidden
    bias.requires_grad_()
    assert torch.allclose(kept_scores(q, k, v, bias, 1.3), formula(q, k, v, bias, 1.3), atol=1e-12)
    grads = []
    for way in (kept_scores, formula):
        out = way(q, k, v, bias, 1.3)
        grads.append(torch.autograd.grad((out * out.detach().sin()).sum(), (q, k, v, bias)))
    for one, other in zip(*grads, strict=True):
        assert torch.allclose(one, other, atol=1e-12)
    assert not grads[0][3][..., 0, 2:].any()


def test_strides_of_heads_that_were_split_off() -> None:
    q, k, v = (x.detach().transpose(1, 2).contiguous().transpose(1, 2).requires_grad_() for x in inputs(4))
    assert torch.autograd.gradcheck(lambda *qkv: kept_scores(*qkv, None, 0.7, True), (q, k, v))


def test_bf16_is_near_fp64() -> None:
    low = [x.detach().bfloat16().requires_grad_() for x in inputs(time=9, span=9)]
    high = [x.detach().double().requires_grad_() for x in low]
    out = [kept_scores(*x, None, 0.5, True) for x in (low, high)]
    for y in out:
        y.sum().backward()
    assert out[0].dtype == torch.bfloat16
    for one, other in zip([out[0], *(x.grad for x in low)], [out[1], *(x.grad for x in high)], strict=True):
        assert (one.double() - other).abs().max() < 0.05


def test_blocks_cover_every_query_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SHORTEST", 64)
    assert doctest.testmod(module).failed == 0
    for time in (1, 63, 127, 128, 300, 1000):
        parts = module.blocks(time, True)
        assert [place for start, stop, _ in parts for place in range(start, stop)] == list(range(time))
        assert all(seen == stop for _, stop, seen in parts)
