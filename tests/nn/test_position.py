"""Absolute and relative positions against their formulas, and T5's buckets against transformers'."""

import math

import pytest
import torch

from nextword.core.errors import SettingsError
from nextword.nn.position.absolute import LearnedPositions, SinusoidalPositions, sinusoids
from nextword.nn.position.relative import (
    Alibi,
    AlibiSettings,
    RelativeBias,
    RelativeSettings,
    buckets,
    make_bias,
    slopes,
)


def test_sinusoids_have_exponents_2k_over_d() -> None:
    found = sinusoids(50, 8)
    for position in (0, 1, 49):
        for k in range(4):
            angle = position / 10_000 ** (2 * k / 8)
            assert found[position, 2 * k].item() == pytest.approx(math.sin(angle), abs=1e-6)
            assert found[position, 2 * k + 1].item() == pytest.approx(math.cos(angle), abs=1e-6)
    assert sinusoids(3, 5).shape == (3, 5)


def test_sinusoidal_positions_grow_with_the_text() -> None:
    positions = SinusoidalPositions(6)
    first = positions(torch.arange(4)[None], 4)
    later = positions(torch.tensor([[3, 20]]), 21)
    assert torch.equal(first[0, 3], later[0, 0])
    assert torch.equal(later[0, 1], sinusoids(21, 6)[20])


def test_learned_positions_end() -> None:
    positions = LearnedPositions(5, 3)
    positions.initialise(1.0, torch.Generator().manual_seed(0))
    assert torch.equal(positions(torch.tensor([[4, 0]]), 5), positions.weight[[4, 0]][None])
    with pytest.raises(SettingsError, match="has 6 tokens, the model has positions for 5"):
        positions(torch.tensor([[5]]), 6)


def test_alibi() -> None:
    assert slopes(8) == [0.5, 0.25, 0.125, 0.0625, 0.03125, 0.015625, 0.0078125, 0.00390625]
    assert slopes(2) == [2**-4, 2**-8]
    distance = torch.tensor([[[0, 1, 2], [-1, 0, 1], [-2, -1, 0]]])
    keys = torch.arange(3)[None]
    bias = Alibi(AlibiSettings(2))(distance, keys, torch.empty(0))
    assert bias.shape == (1, 2, 3, 3)
    assert bias[0, 0].tolist() == [[0, -1 / 16, -2 / 16], [-1 / 16, 0, -1 / 16], [-2 / 16, -1 / 16, 0]]
    assert bias[0, 1, 2, 0] == -2 / 256


def test_alibi_between_powers_of_two_fills_up_with_every_second_slope_of_the_next() -> None:
    assert slopes(3) == [2**-4, 2**-8, 2**-2]
    assert slopes(6) == [2**-2, 2**-4, 2**-6, 2**-8, 2**-1, 2**-3]
    theirs = pytest.importorskip("transformers").models.bloom.modeling_bloom._get_alibi_slopes
    for heads in range(1, 40):
        assert torch.allclose(torch.tensor(slopes(heads)), theirs(heads, torch.device("cpu")), rtol=1e-5)


def test_alibi_rounded_to_bf16_is_that_of_the_key_s_place() -> None:
    keys = torch.tensor([[0, 1, 257, 300]])  # bf16 has 8 bits: 257 is 256 there, and 2^-0.25 is 0.83984375
    bias = make_bias(AlibiSettings(32, 0.5, rounded=True))(torch.zeros(1, 2, 4), keys, torch.empty(0))
    assert bias.shape == (1, 32, 2, 4)
    assert bias[0, 0, 1].tolist() == [0.0, 0.83984375 / 2, 215.0 / 2, 252.0 / 2]


@pytest.mark.parametrize("both", [True, False])
@pytest.mark.parametrize(("count", "farthest"), [(32, 128), (8, 16), (12, 20), (16, 1000)])
def test_buckets_are_theirs(both: bool, count: int, farthest: int) -> None:
    theirs = pytest.importorskip("transformers").models.t5.modeling_t5.T5Attention._relative_position_bucket
    distance = torch.arange(-2 * farthest, 2 * farthest)
    found = buckets(distance, RelativeSettings(1, count, farthest, both))
    assert torch.equal(found, theirs(distance, both, count, farthest))
    assert found.max() == count - 1


def test_relative_bias_is_the_bucket_s_number_for_each_head() -> None:
    bias = RelativeBias(RelativeSettings(2, 4, 8))
    bias.initialise(1.0, torch.Generator().manual_seed(0))
    found = bias(torch.tensor([[[-1, 0], [-9, 3]]]), torch.arange(2)[None], torch.empty(0))
    numbers = [[1, 0], [3, 0]]  # what stands behind is not told apart: a causal mask hides it
    for row in range(2):
        for column in range(2):
            assert torch.equal(found[0, :, row, column], bias.weight[numbers[row][column]])
