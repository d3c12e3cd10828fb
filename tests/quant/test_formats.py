"""Weights in few bits: what is stored, what it stands for; the layer and its gradients are those of the matrix."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from nextword.core.errors import SettingsError
from nextword.quant import format as formats
from nextword.quant.formats import int4
from nextword.quant.linear import QuantisedLinear, shrink

CASES = [(8, None), (4, 32), (4, 64), (4, 128)]
WIDTHS = [32, 100, 288, 320]


def test_int8_by_hand() -> None:
    form = formats.find(8)
    weight = torch.tensor([[-1.27, 0.5, 0.004, 1.26], [0.0, 0.0, 0.0, 0.0]])
    codes, scales = formats.encode(weight, form, form.group_of(None, 4), torch.tensor([[0.01], [1.0]]))
    assert codes.tolist() == [[-127, 50, 0, 126, *[0] * 28], [0] * 32]
    assert formats.decode(codes, scales, form, 32, 4, torch.float64)[0].tolist() == pytest.approx([-1.27, 0.5, 0, 1.26])


def test_int4_by_hand() -> None:
    q = torch.zeros(1, 64, dtype=torch.int8)
    q[0, 0], q[0, 1], q[0, 32], q[0, 63] = -8, 7, -1, 3  # weights 0, 1 below; 32, 63 above
    packed = int4.pack(q)
    assert packed.shape == (1, 32)
    assert packed[0, :2].tolist() == [0x70, 0x8F]
    assert packed[0, 31] == 0xB8
    assert torch.equal(int4.unpack(packed), q)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize(("bits", "group"), CASES)
def test_every_weight_is_rounded_to_the_nearest(bits: int, group: int | None, width: int) -> None:
    form = formats.find(bits)
    size = form.group_of(group, width)
    weight = torch.randn(7, width, generator=torch.Generator().manual_seed(0))
    weight[3] = 0
    codes, scales = formats.encode(weight, form, size)
    assert scales.shape == (7, form.groups(width, size))
    found = formats.decode(codes, scales, form, size, width, torch.float32)
    for row in range(7):
        for k in range(0, width, 11):
            grid = scales[row, k // size].double() * torch.arange(form.lowest, form.highest + 1)
            nearest = (grid - weight[row, k].double()).abs().min()
            assert abs(abs(found[row, k].double() - weight[row, k].double()) - nearest) < 1e-6
    assert not found[3].any()


@pytest.mark.parametrize(("bits", "largest"), [(8, 0.009), (4, 0.09)])
def test_the_error_is_that_of_the_grid(bits: int, largest: float) -> None:
    """Of normal weights; in 4 bits a uniform grid cannot do better than 0.115 s/σ, 8 bits are 16 times as fine."""
    linear = nn.Linear(512, 64)
    nn.init.normal_(linear.weight, generator=torch.Generator().manual_seed(0))
    error = (shrink(linear, bits, 32).dense() - linear.weight).norm() / linear.weight.norm()
    assert largest / 2 < error < largest


def test_searched_scales_are_better_than_those_that_reach_the_largest() -> None:
    weight = torch.randn(64, 256, generator=torch.Generator().manual_seed(0))
    form = formats.find(4)
    reaching = (weight.view(64, 4, 64).abs().amax(-1) / 7).bfloat16()
    errors = []
    for scales in (None, reaching):
        codes, used = formats.encode(weight, form, 64, scales)
        errors.append(float((formats.decode(codes, used, form, 64, 256, torch.float32) - weight).square().sum()))
    assert errors[0] < 0.85 * errors[1]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("bits", "group"), CASES)
def test_the_layer_is_its_matrix(
    bits: int, group: int | None, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nextword.nn.tiles.TILE_NUMBERS", 3 * 96)  # tiles of three rows, the last of one
    torch.manual_seed(0)
    linear = nn.Linear(96, 10)
    layer = shrink(linear, bits, group)
    assert (layer.in_features, layer.out_features) == (96, 10)
    x = torch.randn(2, 5, 96, dtype=dtype, requires_grad=True)
    dense = layer.dense(dtype)
    wanted = F.linear(x, dense, layer.bias.detach().to(dtype))
    (given,) = torch.autograd.grad(wanted.square().sum(), x)
    found = layer(x)
    (gradient,) = torch.autograd.grad(found.square().sum(), x)
    tolerance = 1e-5 if dtype == torch.float32 else 0.02
    assert (found - wanted).abs().max() <= tolerance * wanted.abs().max()
    assert (gradient - given).abs().max() <= tolerance * given.abs().max()


def test_a_change_of_type_changes_no_stored_number() -> None:
    layer = shrink(nn.Linear(64, 8), 8)
    scales = layer.scales.clone()
    layer.to(torch.bfloat16)
    assert layer.bias.dtype == torch.bfloat16
    assert layer.scales.dtype == torch.float32 and torch.equal(layer.scales, scales)
    assert layer(torch.randn(2, 64, dtype=torch.bfloat16)).dtype == torch.bfloat16


def test_unknown_bits() -> None:
    with pytest.raises(SettingsError, match="int3"):
        QuantisedLinear(32, 32, 3, None, bias=False)
