"""Speculation: greedy texts are the same, sampled ones have the model's distribution, whoever guesses; together too."""

from collections import Counter
from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
import torch

from nextword.core.errors import SettingsError
from nextword.decode import chain
from nextword.decode.history import History
from nextword.decode.settings import SamplingSettings as Sampling
from nextword.decode.speculation import Odds
from nextword.decode.strategies.lookup import Memory
from nextword.decode.strategy import Tools
from nextword.decode.strategy_settings import StrategySettings as Strategy
from nextword.decode.trace import Guessed
from nextword.engine.draft import with_draft
from nextword.engine.generate import generate, stream
from nextword.engine.reader import Reader
from nextword.engine.request import Generation, Request
from nextword.engine.step import PlainSteps
from nextword.models.base import LanguageModel

DECODERS = ("llama", "nextword", "lstm", "ngram")
PROMPTS = [(3, 1, 4, 1, 5, 9, 2, 6), (2, 7), (1,), tuple(range(5, 40))]
Make = Callable[..., Any]
COPIED = (3, 1, 4, 1, 5, 9, 2, 6, 3, 1, 4, 1)


def tools(draft: LanguageModel | None, trace: list[Any] | None = None) -> Tools:
    reader = None if draft is None else Reader(PlainSteps(draft), room=draft.max_length)
    return Tools(draft=reader, cost=0.05, trace=trace)


def run(
    model: LanguageModel, requests: list[Request], draft: LanguageModel | None, trace: list[Any] | None = None
) -> list[Generation]:
    strategy = Strategy(strategy="lookup" if draft is None else "speculative")
    asked = [
        Request(one.ids, one.settings, one.eos_ids, one.tokenizer, one.source, strategy) for one in requests
    ]  # fmt: skip
    return generate(model, asked, "never", tools(draft, trace))


@pytest.mark.parametrize("kind", DECODERS)
@pytest.mark.parametrize("draft", ["lookup", "itself", "ngram", "lstm", "llama"])
def test_greedy_texts_are_the_same_alone_and_together(random_model: Make, kind: str, draft: str) -> None:
    model = random_model(kind)
    guesser = {"lookup": None, "itself": model}.get(draft, random_model(draft, seed=8) if draft in DECODERS else None)
    lengths = (12, 7, 20, 15)
    requests = [
        Request(prompt, Sampling(temperature=0, max_tokens=length))
        for prompt, length in zip((COPIED, *PROMPTS[1:]), lengths, strict=True)
    ]
    wanted = [one.ids for one in generate(model, requests)]
    assert [one.ids for one in run(model, requests, guesser)] == wanted
    assert [run(model, [request], guesser)[0].ids for request in requests] == wanted


@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_a_draft_that_is_the_model_is_always_right(random_model: Make, temperature: float) -> None:
    model, trace = random_model("llama"), []
    run(model, [Request((3, 1), Sampling(temperature=temperature, max_tokens=30, seed=1))], model, trace)
    assert trace
    assert all(isinstance(one, Guessed) and one.accepted == len(one.tokens) for one in trace)
    lengths = [len(one.tokens) for one in trace]
    assert max(lengths) >= 5 and lengths[0] == 1  # the more it is right, the more it guesses
    assert sum(one.accepted + 1 for one in trace) >= 20


@pytest.mark.parametrize(
    "settings", [{"no_repeat_ngram": 2}, {"frequency_penalty": 1.5, "min_tokens": 12}, {"banned_ids": ((1, 4), (9,))}]
)
def test_processors_see_the_guesses(random_model: Make, settings: dict[str, Any]) -> None:
    model = random_model("llama")
    requests = [Request(COPIED, Sampling(temperature=0, max_tokens=20, **settings), frozenset({33}))]
    wanted = generate(model, requests)[0].ids
    assert wanted != generate(model, [Request(COPIED, Sampling(temperature=0, max_tokens=20))])[0].ids
    for draft in (None, model, random_model("ngram")):
        assert run(model, requests, draft)[0].ids == wanted


def texts_with_chances(model: Any, prompt: tuple[int, ...], sampling: Sampling) -> dict[tuple[int, ...], float]:
    """P of every text of max_tokens tokens under the settings, exactly."""
    count = sampling.max_tokens or 0

    def after(new: tuple[int, ...]) -> list[float]:
        history = History(sampling, prompt, model.vocab_size, count)
        for token in new:
            history.push(token)
        logits = torch.tensor([model.distribution((*prompt, *new))], dtype=torch.float64).log()
        return chain.process(logits, [history]).softmax(-1)[0].tolist()

    found = {}
    for text in product(range(model.vocab_size), repeat=count):
        chance = 1.0
        for place, token in enumerate(text):
            chance *= after(text[:place])[token] if chance else 0.0
        found[text] = chance
    return found


def random_table(table: Make, vocab_size: int, seed: int, like: Any = None) -> Any:
    """Random distributions that look at the last two tokens; `like`: half way to those of another table."""
    rows: dict[tuple[int, ...], list[float]] = {}

    def distribution(ids: tuple[int, ...]) -> list[float]:
        key = ids[-2:]
        if key not in rows:
            number = sum(token * vocab_size**place for place, token in enumerate(key))
            drawn = torch.rand(vocab_size, generator=torch.Generator().manual_seed(seed * 1000 + number)).double()
            drawn = drawn**2 / (drawn**2).sum()
            if like is not None:
                drawn = (drawn + torch.tensor(like.distribution(ids))) / 2
            rows[key] = drawn.tolist()
        return rows[key]

    return table(vocab_size, distribution)


def chi_squared(counts: Counter[tuple[int, ...]], chances: dict[tuple[int, ...], float], draws: int) -> float:
    """(χ² − its mean) in standard deviations; texts that are expected less than five times are taken together."""
    assert all(chances[text] > 0 for text in counts)
    rare = [text for text, chance in chances.items() if chance * draws < 5]
    cells = [(counts[text], chances[text]) for text in chances.keys() - set(rare)]
    cells.append((sum(counts[text] for text in rare), sum(chances[text] for text in rare)))
    cells = [(seen, chance) for seen, chance in cells if chance * draws >= 5]
    total = sum((seen - draws * chance) ** 2 / (draws * chance) for seen, chance in cells)
    freedom = len(cells) - 1
    assert freedom >= 5
    return (total - freedom) / (2 * freedom) ** 0.5


DRAWS = 1500
LARGEST = 3.5  # standard deviations above the mean: for 20 degrees of freedom exceeded about once in 1,000


@pytest.mark.parametrize(
    ("guesser", "settings"),
    [
        ("draft", {}),
        ("draft", {"temperature": 0.6}),
        ("draft", {"temperature": 1.4, "top_p": 0.8}),
        ("draft", {"presence_penalty": 0.8}),  # depends on the tokens before, guessed ones included
        ("lookup", {"temperature": 0.8, "top_p": 0.9}),
        ("lookup", {"frequency_penalty": 0.5}),
    ],
)
def test_sampled_texts_have_the_models_distribution(table: Make, guesser: str, settings: dict[str, float]) -> None:
    model = random_table(table, 4, seed=5)
    draft = random_table(table, 4, seed=6, like=model) if guesser == "draft" else None
    prompt = (0, 1, 2, 3, 0, 1, 3, 2, 0, 1)
    sampling = Sampling(max_tokens=3, seed=0, **settings)
    trace: list[Any] = []
    requests = [Request(prompt, Sampling(max_tokens=3, seed=seed, **settings)) for seed in range(DRAWS)]
    counts = Counter(tuple(one.ids) for one in run(model, requests, draft, trace))
    assert chi_squared(counts, texts_with_chances(model, prompt, sampling), DRAWS) < LARGEST
    assert any(one.accepted > 0 for one in trace) and any(one.accepted < len(one.tokens) for one in trace)


def test_the_test_would_notice_the_drafts_distribution(table: Make) -> None:
    """What the draft itself says is told apart by the same measure, else the test above would show nothing."""
    model = random_table(table, 4, seed=5)
    draft, prompt = random_table(table, 4, seed=6, like=model), (0, 1)
    requests = [Request(prompt, Sampling(max_tokens=3, seed=seed)) for seed in range(DRAWS)]
    counts = Counter(tuple(one.ids) for one in generate(draft, requests))
    assert chi_squared(counts, texts_with_chances(model, prompt, Sampling(max_tokens=3)), DRAWS) > 3 * LARGEST


def test_a_seed_gives_the_same_text_alone_and_among_others(random_model: Make) -> None:
    model, draft = random_model("llama"), random_model("ngram")
    requests = [Request(prompt, Sampling(max_tokens=9, seed=i)) for i, prompt in enumerate(PROMPTS)]
    together = [one.ids for one in run(model, requests, draft)]
    assert together == [run(model, [request], draft)[0].ids for request in requests]
    assert together == [one.ids for one in run(model, requests, draft)]


def test_an_encoder_decoder_with_a_draft_and_by_look_up(random_model: Make) -> None:
    model = random_model("t5")
    requests = [
        Request((0,), Sampling(temperature=0, max_tokens=length), source=source)
        for length, source in ((12, (3, 1, 4, 1, 5, 1)), (8, (2, 7, 1)))
    ]
    wanted = [one.ids for one in generate(model, requests)]
    for draft in (None, model, random_model("t5", seed=9)):
        assert [one.ids for one in run(model, requests, draft)] == wanted


def test_a_text_that_is_copied_takes_few_calls(table: Make) -> None:
    """Counting around in a circle: the prompt shows one round, the text is three more."""
    model = table(10, lambda ids: [0.991 if token == (ids[-1] + 1) % 10 else 0.001 for token in range(10)])
    prompt = tuple(range(10)) + (0, 1)
    [plain] = generate(model, [Request(prompt, Sampling(temperature=0, max_tokens=30))])
    model.calls.clear()
    [found] = run(model, [Request(prompt, Sampling(temperature=0, max_tokens=30))], None)
    assert found.ids == plain.ids
    assert len(model.calls) <= 10  # and not 30
    assert max(model.calls[1:]) >= 9  # eight guesses behind the last token, or more


def test_nothing_is_read_where_guesses_are_wrong(table: Make) -> None:
    """Runs of two tokens come again all the time, but what follows them is drawn evenly from 40 tokens."""
    model = table(40, lambda ids: [1 / 40] * 40)
    prompt = tuple(torch.randint(0, 40, (2000,), generator=torch.Generator().manual_seed(0)).tolist())
    [found] = run(model, [Request(prompt, Sampling(max_tokens=300, seed=3))], None)
    assert len(found.ids) == 300
    assert sum(model.calls[1:]) <= 310  # guesses beyond the tokens that had to be read anyway


def test_an_end_among_the_guesses_ends_the_text(random_model: Make, alphabet: Any) -> None:
    model = random_model("llama")
    [whole] = generate(model, [Request((3, 1), Sampling(temperature=0, max_tokens=20))])
    ends = frozenset({whole.ids[9]})
    plain = generate(model, [Request((3, 1), Sampling(temperature=0, max_tokens=20), ends)])[0]
    found = run(model, [Request((3, 1), Sampling(temperature=0, max_tokens=20), ends)], model)[0]
    assert (found.ids, found.reason, found.logprobs) == (plain.ids, "eos", pytest.approx(plain.logprobs, abs=1e-4))
    stop = "".join(chr(ord("A") + token) for token in whole.ids[8:10])
    settings = Sampling(temperature=0, max_tokens=20, stop=(stop,), top_logprobs=2)
    cut = run(model, [Request((3, 1), settings, tokenizer=alphabet)], model)[0]
    assert cut.reason == "stop" and stop not in cut.text and len(cut.top_logprobs) == len(cut.ids)


def test_tokens_are_streamed_as_they_are_accepted(random_model: Make) -> None:
    model, results = random_model("llama"), []
    request = Request((3, 1), Sampling(temperature=0, max_tokens=10), strategy=Strategy(strategy="speculative"))
    steps = stream(model, [request], results, "never", tools(model))
    first = next(steps)
    assert results[0].ids == [first.token]
    assert [first.token, *(step.token for step in steps)] == results[0].ids


def test_odds_by_hand() -> None:
    """α 1/2, 0.1 a guess: 1.5/1.1, 1.75/1.2, 1.875/1.3, 1.9375/1.4 tokens a step, of which the second is the most."""
    assert Odds(1.0, 2.0).count(8, 0.1) == 2
    assert Odds(1.0, 2.0).count(1, 0.1) == 1
    assert Odds(1.0, 2.0).count(8, 0.5) == 0  # 1.5/1.5: no gain
    assert Odds(9.9, 10.0).count(8, 0.1) == 8
    odds = Odds(1.0, 2.0)
    for _ in range(20):
        odds.learn(0, 1)
    assert odds.count(8, 0.1) == 0


def test_the_longest_match_and_of_it_the_last() -> None:
    memory = Memory(3)
    memory.push([7, 1, 2, 3, 9, 1, 2, 3, 8, 2, 3])
    assert memory.find(4) == (2, [8, 2, 3])  # "2 3" was followed by 9 and later by 8
    memory.push([5, 1, 2, 3])
    assert memory.find(2) == (3, [8, 2])
    assert Memory(3).find(4) == (0, [])


def test_what_does_not_fit_is_refused(random_model: Make, table: Make) -> None:
    model = random_model("llama")
    request = Request((1,), Sampling(max_tokens=3), strategy=Strategy(strategy="speculative"))
    with pytest.raises(SettingsError, match="speculative needs a draft"):
        generate(model, [request])
    with pytest.raises(SettingsError, match="a draft must share the vocabulary"):
        with_draft(Tools(), model, table(59, lambda ids: [1 / 59] * 59), 3)  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="the draft is an encoder-decoder, the model an decoder"):
        with_draft(Tools(), model, random_model("t5"), 3)
    long = Request((1,), Sampling(max_tokens=90), strategy=Strategy(strategy="speculative"))
    with pytest.raises(SettingsError, match="the draft reads at most 64"):
        generate(random_model("ngram"), [long], "never", tools(model))
    with pytest.raises(SettingsError, match="guesses"):
        Strategy(strategy="lookup", guesses=10**6)
