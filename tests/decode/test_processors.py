"""Temperature, top-k and top-p: their formulas by hand, and against transformers' own processors."""

import pytest
import torch

from nextword.core.errors import SettingsError
from nextword.decode import chain
from nextword.decode.settings import SamplingSettings as Sampling

PROBABILITIES = torch.tensor([[0.3, 0.05, 0.5, 0.15]])


def kept(row: Sampling, probabilities: torch.Tensor = PROBABILITIES) -> list[int]:
    """The tokens that can still be chosen."""
    return chain.process(probabilities.log(), [row]).isfinite()[0].nonzero().flatten().tolist()


def test_temperature_divides_the_logits() -> None:
    hot = chain.process(torch.tensor([[2.0, 0.0]]), [Sampling(temperature=2.0)])
    assert hot.tolist() == [[1.0, 0.0]]
    assert torch.allclose(hot.softmax(-1)[0, 0], torch.tensor(torch.e / (torch.e + 1)))


def test_temperature_far_above_one_is_uniform() -> None:
    flat = chain.process(PROBABILITIES.log(), [Sampling(temperature=1e6)]).softmax(-1)
    assert torch.allclose(flat, torch.full((1, 4), 0.25), atol=1e-5)


@pytest.mark.parametrize(("k", "expected"), [(1, [2]), (2, [0, 2]), (3, [0, 2, 3]), (99, [0, 1, 2, 3])])
def test_top_k_by_hand(k: int, expected: list[int]) -> None:
    assert kept(Sampling(top_k=k)) == expected


def test_top_k_keeps_equals() -> None:
    assert kept(Sampling(top_k=1), torch.tensor([[0.4, 0.2, 0.4]])) == [0, 2]


@pytest.mark.parametrize(
    ("p", "expected"), [(0.01, [2]), (0.5, [2]), (0.51, [0, 2]), (0.8, [0, 2]), (0.81, [0, 2, 3]), (1, [0, 1, 2, 3])]
)
def test_top_p_is_the_smallest_set_that_reaches_p(p: float, expected: list[int]) -> None:
    assert kept(Sampling(top_p=p)) == expected


def test_top_p_looks_at_what_temperature_and_top_k_leave() -> None:
    # top-k leaves .5 .3 .15, which is .526 .316 .158 of what is left: .53 needs two, at 1/4 of the temperature one
    assert kept(Sampling(top_k=3, top_p=0.53)) == [0, 2]
    assert kept(Sampling(top_k=3, top_p=0.53, temperature=0.25)) == [2]


def test_rows_have_settings_of_their_own() -> None:
    generator = torch.Generator().manual_seed(0)
    logits_BV = torch.randn(4, 50, generator=generator)
    rows = [Sampling(temperature=0.5, top_k=7), Sampling(), Sampling(top_p=0.4), Sampling(temperature=0.0)]
    together = chain.process(logits_BV, rows)
    alone = torch.cat([chain.process(logits_BV[i : i + 1], [row]) for i, row in enumerate(rows)])
    assert torch.equal(together, alone)
    assert torch.equal(together[1], logits_BV[1])


def test_equal_to_transformers() -> None:
    from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

    generator = torch.Generator().manual_seed(1)
    logits_BV = 3 * torch.randn(16, 200, generator=generator)
    for temperature, k, p in [(0.7, 20, 0.9), (1.3, 150, 0.5), (1.0, 3, 0.99), (2.0, 200, 0.05)]:
        theirs = logits_BV
        for warper in (TemperatureLogitsWarper(temperature), TopKLogitsWarper(k), TopPLogitsWarper(p)):
            theirs = warper(None, theirs)
        ours = chain.process(logits_BV, [Sampling(temperature=temperature, top_k=k, top_p=p)] * 16)
        assert torch.allclose(ours, theirs)


@pytest.mark.parametrize(
    "wrong",
    [
        {"temperature": -1},
        {"top_k": 0},
        {"top_p": 0},
        {"top_p": 1.1},
        {"max_tokens": 0},
        {"seed": -1},
        {"stop": ("",)},
        {"temperature": float("nan")},
    ],
)
def test_values_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(SettingsError, match=next(iter(wrong))):
        Sampling(**wrong)
