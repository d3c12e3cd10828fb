"""Matrices in bf16 under vectors in fp32: what fp32 matrices of the same numbers give, with all gradients."""

import pytest
import torch
from torch import Tensor, nn

from nextword.nn import half
from nextword.nn.embedding import EmbeddingSettings, make_embedding
from nextword.nn.loss import linear_cross_entropy
from nextword.nn.tiles import linear, spans


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nextword.nn.tiles.TILE_NUMBERS", 3 * 8)  # three rows of eight


def drawn(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


def near(found: Tensor, wanted: Tensor) -> None:
    assert found.dtype == wanted.dtype and found.shape == wanted.shape
    assert (found - wanted).abs().max() <= 1e-6 * wanted.abs().max()


def test_the_last_tile_has_what_is_left() -> None:
    assert list(spans(7, 8)) == [slice(0, 3), slice(3, 6), slice(6, 7)]
    assert list(spans(2, 100)) == [slice(0, 1), slice(1, 2)]  # a row is never cut


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("bias", [True, False])
def test_a_layer_and_its_gradients_are_those_of_the_widened_one(dtype: torch.dtype, bias: bool) -> None:
    ours, theirs = nn.Linear(8, 7, bias=bias).to(dtype), nn.Linear(8, 7, bias=bias)
    theirs.load_state_dict(ours.state_dict())
    half.keep(ours, torch.float32)
    assert ours.weight.dtype == dtype and (not bias or ours.bias.dtype == torch.float32)
    found, wanted = (drawn(2, 3, 8).requires_grad_() for _ in range(2))
    for layer, x in ((ours, found), (theirs, wanted)):
        (layer(x) * drawn(2, 3, 7)).sum().backward()
    near(ours(found), theirs(wanted))
    near(found.grad, wanted.grad)
    assert torch.equal(ours.weight.grad, theirs.weight.grad.to(dtype))
    assert not bias or torch.equal(ours.bias.grad, theirs.bias.grad)


def test_a_frozen_matrix_keeps_no_input() -> None:
    """As under an adapter: the gradient passes through, and nothing is kept for one of the matrix."""
    weight, x = drawn(7, 8).bfloat16(), drawn(3, 8).requires_grad_()
    y = linear(x, weight)
    assert [None if one is None else one.dtype for one in y.grad_fn.saved_tensors] == [None, torch.bfloat16]
    y.sum().backward()
    near(x.grad, weight.float().sum(0).expand(3, 8))


def test_the_loss_of_a_head_is_that_of_the_widened_one() -> None:
    low, labels = drawn(7, 8).bfloat16(), torch.tensor([3, 0, -100, 6])
    sides = []
    for weight in (low.clone().requires_grad_(), low.float().requires_grad_()):
        hidden = drawn(4, 8).requires_grad_()
        nll = linear_cross_entropy(hidden, weight, labels)
        nll.sum().backward()
        sides.append((nll.detach(), hidden.grad, weight.grad))
    for found, wanted in zip(*(side[:2] for side in sides), strict=True):
        near(found, wanted)
    assert torch.equal(sides[0][2], sides[1][2].bfloat16())


@pytest.mark.parametrize("settings", [None, EmbeddingSettings(positions="learned", max_length=5, narrow=4)])
def test_an_embedding_gives_fp32(settings: EmbeddingSettings | None) -> None:
    ours, theirs = (make_embedding(9, 8, settings).bfloat16() for _ in range(2))
    with torch.no_grad():
        for tensor, other in zip(ours.parameters(), theirs.parameters(), strict=True):
            tensor.copy_(drawn(*tensor.shape))
            other.copy_(tensor)
    theirs.float()
    half.keep(ours, torch.float32)
    assert ours.weight.dtype == torch.bfloat16 and ours.like.dtype == torch.float32
    ids_BT, positions_BT = torch.tensor([[3, 8, 0]]), torch.arange(3)[None]
    near(ours.read(ids_BT, positions_BT, 3, None), theirs.read(ids_BT, positions_BT, 3, None))
    ours.double()
    assert ours.read(ids_BT, positions_BT, 3, None).dtype == ours.weight.dtype == torch.float64
