"""Rotary positions: angles by hand, distances, gradients, and what scalings promise."""

import math

import pytest
import torch

from nextword.nn.position.rope import (
    DynamicNTK,
    Linear,
    Llama3,
    LongRope,
    Plain,
    RopeSettings,
    Rotation,
    Scaling,
    Yarn,
    rotate,
    rotate_first,
)

WIDTH = 8


def turned(x_E: torch.Tensor, position: int, rotation: Rotation) -> torch.Tensor:
    cos, sin = rotation.table(position + 1, x_E)
    return rotate(x_E.view(1, 1, 1, -1), cos[position:], sin[position:]).flatten()


def test_pairs_are_half_a_head_apart_and_turn_by_their_angle() -> None:
    rotation = Rotation(RopeSettings(base=100.0), 4)
    # θ_0 = 1, θ_1 = 100^(−2/4) = 0.1; the pairs are (0, 2) and (1, 3)
    found = turned(torch.tensor([1.0, 1.0, 0.0, 0.0]), 3, rotation)
    assert torch.allclose(found, torch.tensor([math.cos(3), math.cos(0.3), math.sin(3), math.sin(0.3)]))


@pytest.mark.parametrize("scaling", [Plain(), Linear(3.0), Llama3(8.0, 1.0, 4.0, 16), Yarn(4.0, 16)])
def test_the_product_depends_on_the_distance_alone(scaling: Scaling) -> None:
    rotation = Rotation(RopeSettings(100.0, scaling), WIDTH)
    q, k = torch.randn(2, WIDTH, dtype=torch.float64)
    products = [turned(q, place + 5, rotation) @ turned(k, place, rotation) for place in (0, 7, 30)]
    assert max(products) - min(products) < 1e-5
    assert abs(turned(q, 5, rotation) @ turned(k, 0, rotation) - turned(q, 9, rotation) @ turned(k, 0, rotation)) > 1e-3


def test_gradient_is_the_rotation_back() -> None:
    cos, sin = Rotation(RopeSettings(), WIDTH).table(5, torch.empty(0, dtype=torch.float64))
    x_BHTE = torch.randn(2, 3, 5, WIDTH, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: rotate(x, cos, sin), x_BHTE)
    with torch.no_grad():
        assert torch.equal(rotate(x_BHTE, cos, sin), rotate(x_BHTE.detach().requires_grad_(), cos, sin))


def test_llama3_keeps_fast_pairs_and_slows_slow_ones() -> None:
    plain = Plain().frequencies(10_000.0, 64)
    scaled = Llama3(8.0, 1.0, 4.0, 8192).frequencies(10_000.0, 64)
    waves = 2 * math.pi / plain
    assert torch.equal(scaled[waves < 8192 / 4], plain[waves < 8192 / 4])
    assert torch.allclose(scaled[waves > 8192], plain[waves > 8192] / 8)
    assert (scaled <= plain).all() and (scaled >= plain / 8 * 0.999).all()


def test_dynamic_ntk_changes_nothing_within_the_trained_length_and_stretches_each_row_by_its_own() -> None:
    rotation = Rotation(RopeSettings(100.0, DynamicNTK(2.0, trained_length=10)), WIDTH)
    positions_BT = torch.arange(20).repeat(2, 1)
    cos, _ = rotation.at(positions_BT, 20, torch.tensor([10, 20]), torch.empty(0))
    plain, _ = Rotation(RopeSettings(100.0), WIDTH).table(20, torch.empty(0))
    assert torch.allclose(cos[0], plain, atol=1e-6)
    assert not torch.allclose(cos[1], plain, atol=1e-2)


def test_the_table_grows_and_serves_gradients_after_inference() -> None:
    rotation = Rotation(RopeSettings(), WIDTH)
    with torch.inference_mode():
        first, _ = rotation.table(3, torch.empty(0))
    longer, _ = rotation.table(9, torch.empty(0))
    assert torch.equal(first, longer[:3])
    x = torch.randn(1, 1, 3, WIDTH, requires_grad=True)
    rotate(x, *rotation.table(3, x)).sum().backward()
    assert x.grad is not None


def test_the_table_follows_the_type_asked_for_without_growing() -> None:
    rotation = Rotation(RopeSettings(), WIDTH)
    for dtype in (torch.float32, torch.bfloat16, torch.float32, torch.bfloat16):
        cos, _ = rotation.table(6, torch.empty(0, dtype=dtype))
        assert (cos.dtype, len(rotation.cos_SE)) == (dtype, 6)


def test_longrope_divides_each_pair_by_its_own_number_and_each_row_by_its_own_length() -> None:
    """Base 16, four coordinates: angles 1 and 1/4 a place; a text of 4 tokens is short, one of 5 long."""
    scaling = LongRope(short=(1.0, 2.0), long=(4.0, 8.0), trained_length=4, gain=1.5)
    rotation = Rotation(RopeSettings(16.0, scaling), 4)
    assert not rotation.stretches(4)
    assert rotation.stretches(5)
    assert torch.allclose(scaling.frequencies(16.0, 4), torch.tensor([1.0, 1 / 8]))
    wanted = torch.tensor([[1.0, 1 / 8], [1 / 4, 1 / 32]])
    assert torch.allclose(scaling.stretched(16.0, 4, torch.tensor([4, 5])), wanted)
    cos, _ = rotation.at(torch.tensor([[3], [3]]), 5, torch.tensor([4, 5]), torch.zeros(()))
    assert torch.allclose(cos[:, 0], 1.5 * torch.cos(3 * wanted))


def test_the_first_coordinates_turn_and_the_others_stay() -> None:
    cos, sin = Rotation(RopeSettings(), 4).table(5, torch.empty(0))
    x_BHTE = torch.randn(2, 3, 5, WIDTH)
    found = rotate_first(x_BHTE, cos, sin)
    assert torch.equal(found[..., :4], rotate(x_BHTE[..., :4], cos, sin))
    assert torch.equal(found[..., 4:], x_BHTE[..., 4:])
