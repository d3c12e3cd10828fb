"""The feed-forward, plain and gated: formula and gradient for every activation."""

import pytest
import torch

from nextword.nn.feedforward import ACTIVATIONS, FeedForwardSettings, GatedFeedForward, make_feedforward


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_formula_and_gradient(name: str) -> None:
    ffn = GatedFeedForward(FeedForwardSettings(4, 6, name, bias=True)).double()
    x = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    wanted = ffn.down(ACTIVATIONS[name].function(ffn.gate(x)) * ffn.up(x))
    assert torch.allclose(ffn(x), wanted)
    with torch.no_grad():
        assert torch.allclose(ffn(x), wanted)
    assert torch.autograd.gradcheck(ffn, x)


def test_swiglu_by_hand() -> None:
    ffn = GatedFeedForward(FeedForwardSettings(1, 1))
    for linear, value in ((ffn.gate, 2.0), (ffn.up, 3.0), (ffn.down, 5.0)):
        torch.nn.init.constant_(linear.weight, value)
    gate = 2.0
    silu = gate / (1 + torch.exp(torch.tensor(-gate)))
    assert torch.allclose(ffn(torch.ones(1, 1)), 5.0 * silu * 3.0)


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_activations_are_theirs(name: str) -> None:
    theirs = pytest.importorskip("transformers").activations.ACT2FN[name]
    x = torch.linspace(-6, 6, 241)
    assert torch.allclose(ACTIVATIONS[name].function(x.clone()), theirs(x.clone()), atol=2e-6)


def test_plain_by_hand() -> None:
    ffn = make_feedforward(FeedForwardSettings(2, 3, "relu", bias=True, gated=False))
    with torch.no_grad():
        ffn.up.weight.copy_(torch.tensor([[1.0, 0], [0, 1], [1, 1]]))
        ffn.up.bias.copy_(torch.tensor([0, 0, -2.0]))
        ffn.down.weight.copy_(torch.tensor([[1.0, 10, 100], [0, 0, 1]]))
        ffn.down.bias.copy_(torch.tensor([0, 0.5]))
    # up: (3, -1, 0) -> relu: (3, 0, 0)
    assert ffn(torch.tensor([3.0, -1])).tolist() == [3.0, 0.5]
    assert isinstance(make_feedforward(FeedForwardSettings(2, 3)), GatedFeedForward)


def test_dropout_in_the_middle_falls_only_while_training() -> None:
    for gated in (True, False):
        ffn = make_feedforward(FeedForwardSettings(4, 64, "gelu", gated=gated, dropout=0.5))
        x = torch.randn(2, 4)
        assert not torch.equal(ffn.train()(x), ffn(x))
        assert torch.equal(ffn.eval()(x), ffn(x))
