"""Attention against its formula: scaled inside the softmax, causal, heads in groups, however it is computed."""

import pytest
import torch

from nextword.nn.attention import (
    Attention,
    AttentionSettings,
    attention,
    capped_attention,
    causal_attention,
    products,
)
from nextword.nn.kept_scores import kept_scores
from nextword.nn.mask import CAUSAL, Reach, Sight
from nextword.nn.norm import NormSettings


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


@pytest.mark.parametrize(("heads", "kv_heads"), [(4, 4), (4, 2), (6, 1)])
def test_equals_the_formula(heads: int, kv_heads: int) -> None:
    q = torch.randn(2, heads, 7, 6)
    k, v = torch.randn(2, 2, kv_heads, 7, 6)
    assert torch.allclose(causal_attention(q, k, v), formula(q, k, v), atol=1e-6)


@pytest.mark.parametrize(("time", "kept"), [(127, False), (128, True)])
def test_long_rows_keep_their_weights_in_training_with_the_same_gradient(
    monkeypatch: pytest.MonkeyPatch, time: int, kept: bool
) -> None:
    start, calls = torch.randn(3, 1, 2, time, 4), []

    def counting(*given: object) -> torch.Tensor:
        calls.append(given)
        return kept_scores(*given)  # type: ignore[arg-type]

    monkeypatch.setattr("nextword.nn.attention.kept_scores", counting)
    found = []
    for way in (causal_attention, lambda *qkv: products(*qkv, CAUSAL)):
        leaves = [x.clone().requires_grad_() for x in start]
        out = way(*leaves)
        (out * start[0].cos()).sum().backward()
        found.append([out, *(leaf.grad for leaf in leaves)])
    assert bool(calls) == kept
    for one, other in zip(*found, strict=True):
        assert torch.allclose(one, other, atol=2e-6)
    with torch.no_grad():
        causal_attention(*start)
    assert len(calls) == kept


def reached(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, reach: Reach, **shape: float) -> torch.Tensor:
    """softmax(f(QKᵀ · scale))V over the keys that the rule by words lets a query see, one at a time."""
    group, out = q.shape[1] // k.shape[1], torch.zeros_like(q)
    scale, cap = shape.get("scale", q.shape[-1] ** -0.5), shape.get("cap")
    for b in range(len(q)):
        for h in range(q.shape[1]):
            for t in range(q.shape[2]):
                seen = [s for s in range(k.shape[2]) if not (reach.causal and s > t)]
                seen = [s for s in seen if reach.window is None or abs(s - t) < reach.window]
                scores = k[b, h // group, seen] @ q[b, h, t] * scale
                scores = cap * torch.tanh(scores / cap) if cap else scores
                out[b, h, t] = scores.softmax(-1) @ v[b, h // group, seen]
    return out


@pytest.mark.parametrize("reach", [Reach(False), Reach(True, 3), Reach(False, 2), Reach(True, 1)])
@pytest.mark.parametrize("shape", [{}, {"scale": 1.0}, {"cap": 0.7}, {"cap": 0.7, "scale": 2.0}])
def test_windows_both_sides_scale_and_cap(reach: Reach, shape: dict[str, float]) -> None:
    q, k, v = torch.randn(2, 4, 6, 5), *torch.randn(2, 2, 2, 6, 5)
    places = torch.arange(6)
    seen = Sight(mask=reach.within(places - places[:, None])[None, None])
    if "cap" in shape:
        found = capped_attention(q, k, v, seen, scale=shape.get("scale"), cap=shape["cap"])
    else:
        found = attention(q, k, v, seen, scale=shape.get("scale"))
        assert torch.allclose(products(q, k, v, seen, scale=shape.get("scale")), found, atol=1e-5)
    assert torch.allclose(found, reached(q, k, v, reach, **shape), atol=1e-5)


def test_capped_scores_are_causal_where_they_should_be() -> None:
    q, k, v = torch.randn(3, 1, 2, 5, 4)
    assert torch.allclose(capped_attention(q, k, v, CAUSAL, cap=0.5), reached(q, k, v, Reach(), cap=0.5), atol=1e-5)


def test_a_learnt_bias_gets_its_gradient() -> None:
    q, k, v, weight = torch.randn(4, 2, 3, 5, 4)
    bias = torch.randn(1, 3, 5, 5, requires_grad=True)
    (attention(q, k, v, Sight(mask=bias)) * weight).sum().backward()
    plain = bias.detach().clone().requires_grad_()
    (((q @ k.mT / 2 + plain).softmax(-1) @ v) * weight).sum().backward()
    assert torch.allclose(bias.grad, plain.grad, atol=1e-5)  # type: ignore[arg-type]
    fixed = attention(q, k, v, Sight(mask=bias.detach()))
    assert torch.allclose(fixed, (q @ k.mT / 2 + bias).softmax(-1) @ v, atol=1e-5)


def test_queries_and_keys_are_normed_head_by_head() -> None:
    made = Attention(AttentionSettings(8, 2, 1, 4, rotary=False, qk_norm=NormSettings(4, 1e-6)))
    with torch.no_grad():
        made.query_norm.weight.copy_(torch.tensor([1.0, 2.0, 3.0, 4.0]))
    x = torch.randn(1, 5, 8)
    q, k, v = (made.split(part(x)) for part in (made.query, made.key, made.value))
    q = q / q.pow(2).mean(-1, keepdim=True).sqrt() * made.query_norm.weight
    k = k / k.pow(2).mean(-1, keepdim=True).sqrt()
    wanted = made.output(causal_attention(q, k, v).transpose(1, 2).flatten(2))
    assert torch.allclose(made(x, (), CAUSAL), wanted, atol=1e-4)


@torch.no_grad()
def test_queries_and_keys_are_normed_over_all_heads_at_once() -> None:
    norm = NormSettings(4, 1e-5)
    made = Attention(AttentionSettings(12, 4, 2, 4, rotary=False, qk_norm=norm, qk_joint=True))
    assert made.query_norm.weight.shape == (16,)
    assert made.key_norm.weight.shape == (8,)
    torch.nn.init.normal_(made.query_norm.weight)
    x = torch.randn(2, 5, 12)
    q, k = made.query(x), made.key(x)
    q = made.query_norm.weight * q / (q.square().mean(-1, keepdim=True) + 1e-5).sqrt()
    k = k / (k.square().mean(-1, keepdim=True) + 1e-5).sqrt()
    q, k, v = (y.view(2, 5, -1, 4).transpose(1, 2) for y in (q, k, made.value(x)))
    wanted = made.output(formula(q, k, v).transpose(1, 2).flatten(2))
    assert torch.allclose(made(x, (), CAUSAL), wanted, atol=1e-6)


@torch.no_grad()
def test_queries_keys_and_values_are_cut_off() -> None:
    made = Attention(AttentionSettings(12, 2, 1, 4, rotary=False, clip=0.2))
    x = torch.randn(2, 5, 12)
    q, k, v = (part(x) for part in (made.query, made.key, made.value))
    assert all(y.abs().max() > 0.2 for y in (q, k, v))
    q, k, v = (y.clamp(-0.2, 0.2).view(2, 5, -1, 4).transpose(1, 2) for y in (q, k, v))
    wanted = made.output(formula(q, k, v).transpose(1, 2).flatten(2))
    assert torch.allclose(made(x, (), CAUSAL), wanted, atol=1e-6)
