"""Contrastive search against its formula, computed from whole texts; without its penalty it is greedy."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from nextword.core.errors import SettingsError
from nextword.decode.settings import SamplingSettings as Sampling
from nextword.decode.strategy_settings import StrategySettings as Strategy
from nextword.engine.generate import generate
from nextword.engine.request import Generation, Request
from nextword.models.base import Batch

PROMPTS = [(3, 1, 4, 1, 5, 9, 2, 6), (2, 7), (1,)]
Make = Callable[..., Any]


def requests(prompts: list[tuple[int, ...]], count: int, source: Any = None, **settings: Any) -> list[Request]:
    strategy = Strategy(strategy="contrastive", **settings)
    return [Request(prompt, Sampling(max_tokens=count), strategy=strategy, source=source) for prompt in prompts]


def read(model: Any, ids: list[int], source: Any = None) -> tuple[Tensor, Tensor]:
    """The hidden vectors of a text and the probabilities of what follows it."""
    batch = Batch(torch.tensor([ids]), source=None if source is None else Batch(torch.tensor([source])))
    with torch.no_grad():
        hidden_TD = model.hidden(batch).hidden_BTD[0]
        return hidden_TD, model.logits(hidden_TD[-1:])[0].softmax(-1)


def plain(model: Any, prompt: tuple[int, ...], count: int, alpha: float, k: int, source: Any = None) -> list[int]:
    """Equation 5 of Su et al., token by token, everything read anew."""
    ids = list(prompt)
    for _ in range(count):
        before_TD, probabilities_V = read(model, ids, source)
        scores = {}
        for token in probabilities_V.topk(k).indices.tolist():
            new_D = read(model, [*ids, token], source)[0][-1]
            alike = max(float(F.cosine_similarity(new_D, old_D, dim=0)) for old_D in before_TD)
            scores[token] = (1 - alpha) * float(probabilities_V[token]) - alpha * alike
        ids.append(max(scores, key=lambda token: scores[token]))
    return ids[len(prompt) :]


@pytest.mark.parametrize("kind", ["llama", "nextword", "lstm"])
@pytest.mark.parametrize(("alpha", "k"), [(0.6, 4), (0.9, 7)])
def test_equal_to_the_formula_together(random_model: Make, kind: str, alpha: float, k: int) -> None:
    model = random_model(kind)
    found = generate(model, requests(PROMPTS, 10, alpha=alpha, candidates=k))
    wanted = [plain(model, prompt, 10, alpha, k) for prompt in PROMPTS]
    assert [one.ids for one in found] == wanted
    greedy = generate(model, [Request(prompt, Sampling(max_tokens=10, temperature=0)) for prompt in PROMPTS])
    assert [one.ids for one in greedy] != wanted or kind == "lstm"
    without = generate(model, requests(PROMPTS, 10, alpha=0.0))
    assert [one.ids for one in without] == [one.ids for one in greedy]


def test_an_encoder_decoder(random_model: Make) -> None:
    model, source = random_model("t5"), (3, 1, 4, 1)
    [found] = generate(model, requests([(0,)], 8, source))
    assert found.ids == plain(model, (0,), 8, 0.6, 4, source)


def test_an_end_token_ends_one_and_the_others_go_on(random_model: Make) -> None:
    model = random_model("llama")
    first, second = generate(model, requests(PROMPTS[:2], 10))
    ending = [
        Request(r.ids, r.settings, frozenset({first.ids[3]}), strategy=r.strategy) for r in requests(PROMPTS[:2], 10)
    ]
    cut, other = generate(model, ending)
    assert cut.ids == first.ids[: first.ids.index(first.ids[3])] and cut.reason == "eos"
    assert other.ids == second.ids[: len(other.ids)]


def test_counts_and_compiled_steps_are_refused(random_model: Make) -> None:
    with pytest.raises(SettingsError, match="this kind of model has none: it counts"):
        generate(random_model("ngram"), requests([(1,)], 3))
    with pytest.raises(SettingsError, match="contrastive needs more of the model than compiled steps give"):
        generate(random_model("llama"), requests([(1,)], 3), "always")
    with pytest.raises(SettingsError, match="top_k has no effect"):
        generate(random_model("llama"), [Request((1,), Sampling(top_k=3), strategy=Strategy(strategy="contrastive"))])
    assert isinstance(generate(random_model("llama"), requests([(1,)], 2))[0], Generation)
