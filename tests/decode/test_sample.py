"""Sampling draws from the distribution, repeats by seed, and does not care who shares the batch."""

import torch
from torch import Tensor

from nextword.decode.settings import SamplingSettings as Sampling
from nextword.decode.strategies.sample import choose

DRAWS = 20_000
CRITICAL = {2: 13.82, 4: 18.47}  # chi-squared that is exceeded with probability 0.001, by degrees of freedom


def chi_squared(counts: Tensor, probabilities: Tensor) -> float:
    expected = counts.sum() * probabilities
    return float(((counts - expected) ** 2 / expected).sum())


def generators(count: int, seed: int = 0) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed + i) for i in range(count)]


def test_draws_follow_the_distribution() -> None:
    probabilities = torch.tensor([0.5, 0.2, 0.0, 0.2, 0.07, 0.03])
    rows = [Sampling()] * DRAWS
    drawn = choose(probabilities.log().expand(DRAWS, -1), rows, generators(DRAWS))
    counts = torch.bincount(torch.tensor(drawn), minlength=6)
    assert counts[2] == 0
    seen = probabilities > 0
    assert chi_squared(counts[seen], probabilities[seen]) < CRITICAL[4]


def test_one_generator_follows_the_distribution_over_time() -> None:
    generator = torch.Generator().manual_seed(3)
    logits = torch.tensor([[1.0, 0.0, -1.0]])
    counts = torch.bincount(torch.tensor([choose(logits, [Sampling()], [generator])[0] for _ in range(3000)]))
    assert chi_squared(counts, logits[0].softmax(-1)) < CRITICAL[2]


def test_zero_temperature_takes_the_likeliest_and_draws_nothing() -> None:
    generator = torch.Generator().manual_seed(5)
    before = generator.get_state()
    assert choose(torch.tensor([[0.0, 2.0, 1.0]]), [Sampling(temperature=0)], [generator]) == [1]
    assert torch.equal(generator.get_state(), before)


def test_a_row_gets_the_same_alone_and_in_a_batch() -> None:
    logits_BV = torch.randn(8, 30, generator=torch.Generator().manual_seed(2))
    rows = [Sampling(temperature=0.0 if i % 3 == 0 else 1.0) for i in range(8)]
    together = choose(logits_BV, rows, generators(8))
    alone = [choose(logits_BV[i : i + 1], [rows[i]], [generators(8)[i]])[0] for i in range(8)]
    assert together == alone


def test_impossible_tokens_are_never_drawn() -> None:
    logits = torch.full((2000, 5), float("-inf"))
    logits[:, 3] = 0.0
    assert set(choose(logits, [Sampling()] * 2000, generators(2000))) == {3}
