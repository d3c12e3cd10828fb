"""Diverse beam search against the paper's algorithm written plainly, reading whole texts; and by hand."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch

from nextword.decode.settings import SamplingSettings as Sampling
from nextword.decode.strategy_settings import StrategySettings as Strategy
from nextword.engine.generate import generate
from nextword.engine.request import Generation, Request
from nextword.models.base import Batch

PROMPTS = [(3, 1, 4, 1, 5), (2, 7), (9,)]
Make = Callable[..., Any]


def search(model: Any, prompt: tuple[int, ...], count: int, **settings: Any) -> Generation:
    strategy = Strategy(strategy="diverse-beam", **settings)
    return generate(model, [Request(prompt, Sampling(max_tokens=count), strategy=strategy)])[0]


def logprobs(model: Any, ids: tuple[int, ...]) -> list[float]:
    with torch.no_grad():
        hidden_BTD = model.hidden(Batch(torch.tensor([ids]))).hidden_BTD
        return model.logits(hidden_BTD[:, -1])[0].double().log_softmax(-1).tolist()


def plain(model: Any, prompt: tuple[int, ...], count: int, beams: int, groups: int, weight: float) -> Any:
    """Algorithm 1 of Vijayakumar et al. for texts of one length: no text ends early."""
    size = beams // groups
    kept: list[list[tuple[float, tuple[int, ...]]]] = [[(0.0, ())] for _ in range(groups)]
    for _ in range(count):
        chosen: Counter[int] = Counter()
        for group in range(groups):
            candidates = []
            for total, text in kept[group]:
                for token, logprob in enumerate(logprobs(model, (*prompt, *text))):
                    candidates.append((total + logprob - weight * chosen[token], total + logprob, (*text, token)))
            best = sorted(candidates, reverse=True)[:size]
            kept[group] = [(total, text) for _, total, text in best]
            chosen.update(text[-1] for _, text in kept[group])
    return sorted((total, text) for group in kept for total, text in group)[::-1]


@pytest.mark.parametrize(("beams", "groups", "weight"), [(4, 2, 0.5), (3, 3, 3.0), (4, 1, 1.0), (6, 2, 0.0)])
def test_equal_to_the_algorithm(random_model: Make, beams: int, groups: int, weight: float) -> None:
    model = random_model("llama")
    for prompt in PROMPTS:
        found = search(model, prompt, 5, beams=beams, groups=groups, diversity=weight, n=beams, length_penalty=0.0)
        wanted = plain(model, prompt, 5, beams, groups, weight)
        assert [one.ids for one in found.best] == [text for _, text in wanted]
        assert [one.score for one in found.best] == pytest.approx([total for total, _ in wanted], abs=1e-3)


def test_by_hand(table: Make) -> None:
    """Two groups of one; with 1 off what the first chose (.5) the second takes .4, with .1 off the same."""
    model = table(3, lambda ids: (0.5, 0.4, 0.1))
    assert [one.ids for one in search(model, (0,), 2, beams=2, diversity=1.0, n=2).best] == [(0, 0), (1, 1)]
    assert [one.ids for one in search(model, (0,), 2, beams=2, diversity=0.1, n=2).best] == [(0, 0), (0, 0)]
