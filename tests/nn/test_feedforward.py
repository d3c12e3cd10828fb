"""The gated feed-forward: formula and gradient for every activation."""

import pytest
import torch

from nextword.nn.feedforward import ACTIVATIONS, FeedForwardSettings, GatedFeedForward


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
