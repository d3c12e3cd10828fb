"""Best of n: the samples of n seeds, ranked by their mean log-probability or by a judge."""

from collections.abc import Callable
from typing import Any

import pytest

from nextword.core.errors import SettingsError
from nextword.decode.settings import SamplingSettings as Sampling
from nextword.decode.strategy import Tools
from nextword.decode.strategy_settings import StrategySettings as Strategy
from nextword.engine.generate import generate
from nextword.engine.request import Generation, Request

PROMPTS = [(3, 1, 4, 1, 5, 9, 2, 6), (2, 7), (1,)]
Make = Callable[..., Any]


def samples(model: Any, prompt: tuple[int, ...], seed: int, count: int, ends: frozenset[int]) -> list[Generation]:
    return [generate(model, [Request(prompt, Sampling(max_tokens=9, seed=seed + i), ends)])[0] for i in range(count)]


@pytest.mark.parametrize("kind", ["llama", "lstm", "ngram"])
def test_the_best_of_the_samples_of_all_seeds(random_model: Make, kind: str) -> None:
    model = random_model(kind)
    strategies = [Strategy(strategy="best-of", candidates=count, n=2) for count in (5, 3, 2)]
    asked = [
        Request(prompt, Sampling(max_tokens=9, seed=seed), strategy=strategy)
        for seed, (prompt, strategy) in enumerate(zip(PROMPTS, strategies, strict=True))
    ]
    for seed, (request, found) in enumerate(zip(asked, generate(model, asked), strict=True)):
        drawn = samples(model, request.ids, seed, request.strategy.candidates or 0, frozenset())
        ranked = sorted(drawn, key=lambda one: -sum(one.logprobs) / len(one.logprobs))
        assert [list(one.ids) for one in found.best] == [one.ids for one in ranked[:2]]
        assert found.best[0].score == pytest.approx(sum(ranked[0].logprobs) / 9, abs=1e-4)
        assert found.ids == ranked[0].ids
        assert found.seed == seed


def test_a_judge_decides(random_model: Make, alphabet: Any) -> None:
    model, seen = random_model("llama"), []

    def judge(text: str, ids: tuple[int, ...]) -> float:
        seen.append(text)
        return -float(sum(ids))

    strategy = Strategy(strategy="best-of", candidates=6, n=6)
    request = Request((3,), Sampling(max_tokens=5, seed=1), tokenizer=alphabet, strategy=strategy)
    [found] = generate(model, [request], tools=Tools(score=judge))
    sums = [sum(one.ids) for one in found.best]
    assert sums == sorted(sums) and len(set(sums)) > 1
    assert sorted(seen) == sorted(one.text for one in found.best)
    assert found.text == found.best[0].text


def test_ended_texts_count_their_end(table: Make) -> None:
    """The end has probability .6: a text of nothing but the end has the mean log .6."""
    strategy = Strategy(strategy="best-of", candidates=20)
    request = Request((0,), Sampling(max_tokens=4, seed=0), frozenset({2}), strategy=strategy)
    [found] = generate(table(3, lambda ids: (0.3, 0.1, 0.6)), [request])
    assert (found.ids, found.reason, found.best[0].reason) == ([], "eos", "eos")
    assert found.best[0].score == pytest.approx(-0.5108256)


def test_more_than_are_drawn_are_refused(random_model: Make) -> None:
    request = Request((1,), strategy=Strategy(strategy="best-of", candidates=2, n=3))
    with pytest.raises(SettingsError, match=r"n \(3\) is more than the 2 texts that are drawn"):
        generate(random_model("ngram"), [request])
