"""Chunked cross-entropy equals PyTorch's, in values and gradients, and its buffers stay small."""

import doctest

import pytest
import torch
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from nextword.nn import loss
from nextword.nn.loss import linear_cross_entropy

N, V, D = 11, 7, 5


def inputs(dtype: torch.dtype = torch.float64, bias: bool = True) -> tuple[torch.Tensor, ...]:
    draw = torch.Generator().manual_seed(3)
    hidden = torch.randn(N, D, generator=draw, dtype=dtype).requires_grad_()
    weight = torch.randn(V, D, generator=draw, dtype=dtype).requires_grad_()
    labels = torch.randint(V, (N,), generator=draw)
    labels[[2, 9]] = -100
    return hidden, weight, labels, torch.randn(V, generator=draw, dtype=dtype).requires_grad_() if bias else None


@pytest.fixture(params=["whole", "chunks of 2 rows"])
def rows(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param != "whole":
        monkeypatch.setattr(loss, "LIMIT_BYTES", 2 * V * 8)


@pytest.mark.parametrize("cap", [None, 1.5])
@pytest.mark.parametrize("upstream", ["one for all", "one each"])
@pytest.mark.parametrize("bias", [True, False])
def test_equals_pytorch_in_values_and_gradients(rows: None, bias: bool, upstream: str, cap: float | None) -> None:
    hidden, weight, labels, bias_V = inputs(bias=bias)
    leaves = [tensor for tensor in (hidden, weight, bias_V) if tensor is not None]
    upstream = torch.randn(N, dtype=torch.float64) if upstream == "one each" else torch.full((N,), -0.3).double()
    ours = linear_cross_entropy(hidden, weight, labels, bias_V, cap)
    scores = functional.linear(hidden, weight, bias_V)
    scores = scores if cap is None else cap * torch.tanh(scores / cap)
    theirs = functional.cross_entropy(scores, labels, reduction="none")
    torch.testing.assert_close(ours, theirs)
    assert ours[2] == ours[9] == 0
    for mine, other in zip(
        torch.autograd.grad(ours @ upstream, leaves), torch.autograd.grad(theirs @ upstream, leaves), strict=True
    ):
        torch.testing.assert_close(mine, other)


@pytest.mark.parametrize("cap", [None, 0.8])
def test_gradient_by_differences(rows: None, cap: float | None) -> None:
    hidden, weight, labels, bias_V = inputs()
    assert torch.autograd.gradcheck(lambda *leaves: linear_cross_entropy(leaves[0], leaves[1], labels, leaves[2], cap),
                                    (hidden, weight, bias_V))  # fmt: skip


@pytest.mark.parametrize("wanted", [0, 1, 2])
def test_a_gradient_alone(rows: None, wanted: int) -> None:
    hidden, weight, labels, bias_V = inputs()
    leaves = [hidden, weight, bias_V]
    whole = torch.autograd.grad(linear_cross_entropy(hidden, weight, labels, bias_V).mean(), leaves[wanted])[0]
    alone = [leaf if number == wanted else leaf.detach() for number, leaf in enumerate(leaves)]
    found = torch.autograd.grad(linear_cross_entropy(*alone[:2], labels, alone[2]).mean(), leaves[wanted])[0]
    torch.testing.assert_close(found, whole)


def test_a_table_that_is_read_and_scored_with_gets_both_gradients(rows: None) -> None:
    _, weight, labels, _ = inputs()
    ids = torch.arange(N) % V
    for _ in range(2):  # a second batch adds up
        linear_cross_entropy(weight[ids].tanh(), weight, labels).sum().backward()
    plain = weight.detach().clone().requires_grad_()
    (2 * functional.cross_entropy(plain[ids].tanh() @ plain.T, labels, reduction="sum")).backward()
    torch.testing.assert_close(weight.grad, plain.grad)


def test_a_label_beyond_the_range_of_exp_has_its_exact_loss() -> None:
    weight = torch.tensor([[0.0], [1000.0]], requires_grad=True)
    nll = linear_cross_entropy(torch.ones(1, 1), weight, torch.tensor([0]))
    nll.sum().backward()
    assert nll.item() == 1000.0
    assert weight.grad.tolist() == [[-1.0], [1.0]]


def test_without_gradients_nothing_is_computed_for_them(rows: None, monkeypatch: pytest.MonkeyPatch) -> None:
    hidden, weight, labels, bias_V = inputs()
    trained = linear_cross_entropy(hidden, weight, labels, bias_V)
    monkeypatch.setattr(loss._Head, "gradients", None)
    with torch.no_grad():
        torch.testing.assert_close(linear_cross_entropy(hidden, weight, labels, bias_V), trained)


def test_backward_twice_over_a_kept_graph_gives_the_same() -> None:
    hidden, weight, labels, _ = inputs(bias=False)
    total = linear_cross_entropy(hidden, weight, labels).sum()
    first = torch.autograd.grad(total, weight, retain_graph=True)[0]
    assert torch.equal(first, torch.autograd.grad(total, weight)[0])


def test_all_ignored_is_zero_with_zero_gradient() -> None:
    hidden, weight, _, _ = inputs()
    nll = linear_cross_entropy(hidden, weight, torch.full((N,), -100))
    nll.sum().backward()
    assert not nll.any() and not weight.grad.any() and not hidden.grad.any()


def test_bf16_products_give_an_fp32_loss(rows: None) -> None:
    hidden, weight, labels, _ = inputs(torch.bfloat16, bias=False)
    ours = linear_cross_entropy(hidden, weight, labels)
    ours.sum().backward()
    theirs = functional.cross_entropy((hidden.float() @ weight.float().T), labels, reduction="none")
    assert ours.dtype == torch.float32 and weight.grad.dtype == torch.bfloat16
    torch.testing.assert_close(ours, theirs, atol=0.03, rtol=0.01)


class Largest(TorchDispatchMode):
    """Notes the bytes of the largest tensor that any operation returns."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # noqa: PLR0917
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, tuple | list) else (result,):
            if isinstance(tensor, torch.Tensor):
                self.bytes = max(self.bytes, tensor.untyped_storage().nbytes())
        return result


@pytest.mark.parametrize(
    "positions, vocabulary, cap", [(700, 50_257, None), (700, 50_257, 30.0), (40, 1_000_000, None)]
)
def test_no_buffer_beyond_64_megabytes(positions: int, vocabulary: int, cap: float | None) -> None:
    hidden = torch.randn(positions, 2, requires_grad=True)
    weight = torch.randn(vocabulary, 2, requires_grad=True)
    with Largest() as largest:
        linear_cross_entropy(hidden, weight, torch.arange(positions), cap=cap).sum().backward()
    assert 16_000_000 < largest.bytes <= 64_000_000 < positions * vocabulary * 4
    assert weight.grad is not None and hidden.grad is not None


def test_the_example_in_the_documentation_holds() -> None:
    assert doctest.testmod(loss).failed == 0
