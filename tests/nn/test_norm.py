"""Norms against their formulas, forward and backward."""

import torch

from nextword.nn.norm import NormSettings, RMSNorm, make_norm


def formula(x: torch.Tensor, weight: torch.Tensor, epsilon: float) -> torch.Tensor:
    return weight * x / torch.sqrt(x.pow(2).mean(-1, keepdim=True) + epsilon)


def test_by_hand_with_epsilon_inside_the_root() -> None:
    norm = RMSNorm(NormSettings(2, epsilon=0.5))
    torch.nn.init.constant_(norm.weight, 2.0)
    # mean(3², 4²) = 12.5; √(12.5 + 0.5) = √13
    assert torch.allclose(norm(torch.tensor([3.0, 4.0])), 2 * torch.tensor([3.0, 4.0]) / 13**0.5)


def test_gradients_are_those_of_the_formula() -> None:
    norm = RMSNorm(NormSettings(6, epsilon=0.1)).double()
    torch.nn.init.normal_(norm.weight)
    x = torch.randn(3, 4, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, w: torch.func.functional_call(norm, {"weight": w}, x), (x, norm.weight))
    with torch.no_grad():
        assert torch.allclose(norm(x), formula(x, norm.weight, 0.1))


def test_bf16_takes_the_mean_in_fp32() -> None:
    """256 ones and one 16: in bf16 a running sum of squares would stop growing at 256."""
    x = torch.cat([torch.ones(512), torch.tensor([16.0])]).bfloat16()
    norm = RMSNorm(NormSettings(513)).bfloat16()
    wanted = formula(x.float(), torch.ones(513), 1e-5).bfloat16()
    assert torch.equal(norm(x), wanted)
    with torch.no_grad():
        assert torch.equal(norm(x), wanted)


def test_bf16_gradients_are_near_those_of_fp32() -> None:
    x = torch.randn(5, 32)
    dy = torch.randn(5, 32)
    grads = {}
    for dtype in (torch.float32, torch.bfloat16):
        norm = RMSNorm(NormSettings(32)).to(dtype)
        leaf = x.clone().to(dtype).requires_grad_()
        norm(leaf).backward(dy.to(dtype))
        grads[dtype] = leaf.grad.float(), norm.weight.grad.float()
    for exact, rounded in zip(grads[torch.float32], grads[torch.bfloat16], strict=True):
        assert (exact - rounded).abs().max() < 0.03 * exact.abs().max()


def test_layer_norm_by_hand_with_epsilon_inside_the_root() -> None:
    norm = make_norm(NormSettings(2, epsilon=0.75, kind="layer"))
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([1.0, 2.0]))
        norm.bias.copy_(torch.tensor([0.0, 10.0]))
    # mean 4, variance 0.25: (x - 4) / sqrt(0.25 + 0.75)
    assert torch.allclose(norm(torch.tensor([3.5, 4.5])), torch.tensor([-0.5, 11.0]))
    norm.initialise()
    assert norm.weight.eq(1).all() and norm.bias.eq(0).all()
    assert isinstance(make_norm(NormSettings(2)), RMSNorm)


def test_about_one_starts_as_no_scale_and_has_the_gradients_of_the_formula() -> None:
    norm = make_norm(NormSettings(6, 0.1, "rms about one")).double()
    norm.initialise()
    x = torch.randn(3, 4, 6, dtype=torch.float64, requires_grad=True)
    assert torch.allclose(norm(x), formula(x, torch.ones(6), 0.1))
    torch.nn.init.normal_(norm.weight)
    assert torch.allclose(norm(x), formula(x, 1 + norm.weight, 0.1))
    assert torch.autograd.gradcheck(lambda x, w: torch.func.functional_call(norm, {"weight": w}, x), (x, norm.weight))


def test_bare_by_hand() -> None:
    """Mean 3, variance 4: (1 - 3) / sqrt(4 + 5) = -2/3."""
    norm = make_norm(NormSettings(2, 5.0, "bare layer"))
    assert torch.allclose(norm(torch.tensor([1.0, 5.0])), torch.tensor([-2.0, 2.0]) / 3)
    assert not list(norm.parameters())
