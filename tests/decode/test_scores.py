"""Tokens by inversion: where the running sum of the weights exceeds u times the whole, never one of weight 0."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nextword.decode.scores import BLOCK, NotFinite, draw, drawn, likeliest, logprobs

ALMOST = 1 - 2**-53  # the largest number below 1


@given(st.integers(1, 3 * BLOCK + 5), st.integers(0, 10_000), st.floats(0, ALMOST), st.booleans())
@settings(max_examples=200, deadline=None)
def test_drawn_is_inversion(size: int, seed: int, u: float, few: bool) -> None:
    generator = torch.Generator().manual_seed(seed)
    weights_V = torch.rand(size, generator=generator, dtype=torch.float64)
    if few:  # whole blocks of zeros, at the end, too
        weights_V[torch.rand(size, generator=generator) < 0.99] = 0
        weights_V[seed % size] = 0.5
    [token] = drawn(weights_V[None], torch.tensor([u], dtype=torch.float64))
    sums_V, wanted = weights_V.cumsum(-1), u * float(weights_V.sum())
    assert weights_V[token] > 0
    before = float(sums_V[token - 1]) if token else 0.0
    rounding = 1e-12 * float(sums_V[-1])
    assert before - rounding <= wanted <= float(sums_V[token]) + rounding


def test_rows_draw_each_by_its_own_number() -> None:
    weights_NV = torch.rand(5, 1000, generator=torch.Generator().manual_seed(0))
    u_N = torch.tensor([0.0, 0.1, 0.5, 0.9, ALMOST], dtype=torch.float64)
    alone = [drawn(row_V[None], u[None])[0] for row_V, u in zip(weights_NV, u_N, strict=True)]
    assert drawn(weights_NV, u_N) == alone and alone == sorted(alone) and alone[0] == 0 and alone[-1] == 999


def test_frequencies_are_the_weights() -> None:
    weights_V = torch.tensor([0.1, 0.0, 0.6, 0.3])
    u_N = torch.rand(20_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = torch.bincount(torch.tensor(drawn(weights_V.expand(len(u_N), -1), u_N)), minlength=4) / len(u_N)
    assert (found - weights_V).abs().max() < 0.02 and found[1] == 0


def test_the_likeliest_and_log_probabilities() -> None:
    scores_NV = torch.randn(4, 50, generator=torch.Generator().manual_seed(0))
    scores_NV[1, 7] = scores_NV[1, 9] = 90.0
    assert likeliest(scores_NV) == [int(scores_NV[0].argmax()), 7, *scores_NV[2:].argmax(-1).tolist()]
    wanted = scores_NV.double() - scores_NV.double().logsumexp(-1, keepdim=True)
    assert torch.allclose(logprobs(scores_NV).double(), wanted, atol=1e-5)
    scores_NV[2, 3] = float("-inf")  # may be: a token that cannot follow
    assert logprobs(scores_NV)[2, 3] == float("-inf")
    for broken in (float("nan"), float("inf")):
        scores_NV[3, 5] = broken
        with pytest.raises(NotFinite):
            logprobs(scores_NV)


@pytest.mark.parametrize("size", [1, 255, 256, 1000, 32_000])
def test_the_kernel_draws_the_same(size: int) -> None:
    pytest.importorskip("numba")
    from nextword.nn.kernels.draw import draw as compiled

    generator = torch.Generator().manual_seed(size)
    scores_NV = torch.randn(64, size, generator=generator) * 3
    scores_NV[::2][torch.rand(32, size, generator=generator) < 0.7] = float("-inf")  # what processors forbid
    scores_NV[:, size // 2] = 1.0
    u_N = torch.rand(64, generator=generator, dtype=torch.float64)
    u_N[:4] = torch.tensor([0.0, ALMOST, ALMOST, 0.0])
    found = compiled(scores_NV, u_N)
    assert found == draw(scores_NV, u_N)
    assert scores_NV[range(64), found].isfinite().all()
    far_V = torch.full((1, size), -200.0)  # all as unlikely: the largest is taken off first
    assert compiled(far_V, u_N[5:6]) == [int(u_N[5] * size)]
