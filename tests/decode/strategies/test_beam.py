"""Beam search: by hand, against every text there is, against transformers; n best, stop texts, and its tree."""

from collections.abc import Callable
from itertools import product
from math import log
from typing import Any

import pytest
import torch

from nextword.core.errors import SettingsError
from nextword.decode.settings import SamplingSettings as Sampling
from nextword.decode.strategy import Tools
from nextword.decode.strategy_settings import StrategySettings as Strategy
from nextword.decode.trace import Level
from nextword.engine.generate import generate
from nextword.engine.request import Generation, Request

DECODERS = ("llama", "nextword", "lstm", "ngram")
PROMPTS = [(3, 1, 4, 1, 5, 9, 2, 6), (2, 7), (1,), tuple(range(5, 40))]
Make = Callable[..., Any]

# a beam of 2 over the letters A, B, C and the end: the likeliest first letter is not that of the likeliest text
A, B, C, END, BEGIN = range(5)
LETTERS = {
    (BEGIN,): (0.2, 0.1, 0.7, 0, 0),
    (BEGIN, C): (0.45, 0.44, 0.06, 0.05, 0),
    (BEGIN, C, A): (0.5, 0.25, 0.05, 0.2, 0),
    (BEGIN, C, B): (0.8, 0.1, 0.05, 0.05, 0),
}
REST = (0.1, 0.1, 0.1, 0.7, 0)


@pytest.fixture
def letters(table: Make) -> Any:
    return table(5, lambda ids: LETTERS.get(ids, REST))


def search(model: Any, request: Request, trace: list[Any] | None = None, **settings: Any) -> Generation:
    request = Request(
        request.ids, request.settings, request.eos_ids, request.tokenizer, request.source,
        Strategy(**{"strategy": "beam", **settings}),
    )  # fmt: skip
    return generate(model, [request], "never", Tools(trace=trace))[0]


def test_by_hand(letters: Any) -> None:
    """CBA has .7·.44·.8 = .2464, CAA .7·.45·.5 = .1575, which greedy says."""
    request = Request((BEGIN,), Sampling(max_tokens=3), frozenset({END}))
    found = search(letters, request, beams=2, n=2, length_penalty=0.0)
    assert [one.ids for one in found.best] == [(C, B, A), (C, A, A)]
    assert [one.score for one in found.best] == pytest.approx([log(0.2464), log(0.1575)])
    assert (found.ids, found.reason) == ([C, B, A], "length")
    greedy = generate(letters, [Request((BEGIN,), Sampling(max_tokens=3, temperature=0), frozenset({END}))])[0]
    assert greedy.ids == [C, A, A]


def test_its_tree_by_hand(letters: Any) -> None:
    trace: list[Any] = []
    search(letters, Request((BEGIN,), Sampling(max_tokens=3), frozenset({END})), trace, beams=2, length_penalty=0.0)
    first, second, third = trace
    assert isinstance(first, Level) and (first.row, [level.place for level in trace]) == (0, [0, 1, 2])
    assert [(c.parent, c.token, c.fate) for c in first.candidates[:3]] == [
        (0, C, "kept"), (0, A, "kept"), (0, B, "pruned"),
    ]  # fmt: skip
    # behind C: A .315 and B .308; behind A the end, .14, which is third of its level and so no result
    assert [(c.parent, c.token, c.fate) for c in second.candidates] == [
        (0, A, "kept"), (0, B, "kept"), (1, END, "pruned"), (0, C, "pruned"),
    ]  # fmt: skip
    assert [(c.parent, c.token, c.fate) for c in third.candidates[:2]] == [(1, A, "ended"), (0, A, "ended")]
    assert third.candidates[0].score == pytest.approx(log(0.2464))
    assert third.candidates[0].logprob == pytest.approx(log(0.8))


def every_text(model: Any, limit: int, end: int, penalty: float) -> list[tuple[float, tuple[int, ...]]]:
    """All texts with their scores, best first."""
    found = []
    for length in range(1, limit + 1):
        for text in product(range(model.vocab_size), repeat=length):
            if end in text[:-1] or (text[-1] != end and length < limit):
                continue
            chances = [model.distribution((0, *text[:place]))[text[place]] for place in range(length)]
            total = torch.tensor(chances, dtype=torch.float64).log().sum()
            found.append((float(total) / length**penalty, text))
    return sorted(found, reverse=True)


@pytest.mark.parametrize("penalty", [0.0, 1.0, 2.0])
def test_wide_enough_it_finds_the_best_of_all_texts(table: Make, penalty: float) -> None:
    generator = torch.Generator().manual_seed(3)
    rows: dict[tuple[int, ...], list[float]] = {}

    def distribution(ids: tuple[int, ...]) -> list[float]:
        if ids not in rows:
            rows[ids] = torch.rand(4, generator=generator, dtype=torch.float64).pow(2).tolist()
            rows[ids] = [p / sum(rows[ids]) for p in rows[ids]]
        return rows[ids]

    model = table(4, distribution)
    request = Request((0,), Sampling(max_tokens=4), frozenset({3}))
    found = search(model, request, beams=4**4, n=6, length_penalty=penalty, early_stopping="never")
    wanted = every_text(model, 4, 3, penalty)[:6]
    assert [one.ids for one in found.best] == [tuple(t for t in text if t != 3) for _, text in wanted]
    assert [one.score for one in found.best] == pytest.approx([score for score, _ in wanted], abs=1e-5)


@pytest.mark.parametrize("kind", DECODERS)
def test_one_beam_is_greedy(random_model: Make, kind: str) -> None:
    model = random_model(kind)
    for prompt in PROMPTS:
        [greedy] = generate(model, [Request(prompt, Sampling(temperature=0, max_tokens=12))])
        ends = frozenset({greedy.ids[7]})
        for eos in (frozenset(), ends):
            plain = generate(model, [Request(prompt, Sampling(temperature=0, max_tokens=12), eos)])[0]
            found = search(model, Request(prompt, Sampling(max_tokens=12), eos), beams=1)
            assert (found.ids, found.reason) == (plain.ids, plain.reason)
            assert found.logprobs == pytest.approx(plain.logprobs, abs=1e-4)


CASES = [
    {"num_beams": 2},
    {"num_beams": 5, "length_penalty": 0.0, "early_stopping": True},
    {"num_beams": 4, "length_penalty": 2.0, "early_stopping": "never"},
    {"num_beams": 3, "length_penalty": -1.0, "early_stopping": False, "repetition_penalty": 1.7},
]


def ours(case: dict[str, Any]) -> tuple[Sampling, dict[str, Any]]:
    names = {"num_beams": "beams", "length_penalty": "length_penalty", "early_stopping": "early_stopping"}
    strategy = {names[key]: value for key, value in case.items() if key in names}
    return Sampling(max_tokens=14, repetition_penalty=case.get("repetition_penalty", 1.0)), strategy


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("eos", [None, 17, [5, 23]])
def test_equal_to_transformers(llamas: tuple[Any, Any], case: dict[str, Any], eos: Any) -> None:
    model, theirs = llamas
    ends = frozenset() if eos is None else frozenset([eos] if isinstance(eos, int) else eos)
    sampling, strategy = ours(case)
    for prompt in PROMPTS[:3]:
        wanted = theirs.generate(
            torch.tensor([prompt]), attention_mask=torch.ones(1, len(prompt)), max_new_tokens=14, do_sample=False,
            eos_token_id=eos, pad_token_id=0, num_return_sequences=case["num_beams"], return_dict_in_generate=True,
            output_scores=True, **case,
        )  # fmt: skip
        found = search(model, Request(prompt, sampling, ends), n=case["num_beams"], **strategy)
        same(found, wanted, len(prompt), ends)


def same(found: Generation, wanted: Any, begin: int, ends: frozenset[int]) -> None:
    texts = []
    for row in wanted.sequences[:, begin:].tolist():
        end = next((place for place, token in enumerate(row) if token in ends), len(row))
        texts.append(tuple(row[:end]))
    assert [one.ids for one in found.best] == texts
    assert [one.score for one in found.best] == pytest.approx(wanted.sequences_scores.tolist(), rel=1e-6, abs=1e-5)


def test_an_encoder_decoder_equal_to_transformers(t5s: tuple[Any, Any]) -> None:
    model, theirs = t5s
    for source in [(3, 1, 4, 1, 5, 1), (2, 7, 1)]:
        wanted = theirs.generate(
            torch.tensor([source]), max_new_tokens=10, num_beams=4, do_sample=False, num_return_sequences=4,
            eos_token_id=1, pad_token_id=0, return_dict_in_generate=True, output_scores=True,
        )  # fmt: skip
        found = search(model, Request((0,), Sampling(max_tokens=10), frozenset({1}), source=source), beams=4, n=4)
        same(found, wanted, 1, frozenset({1}))


@pytest.mark.parametrize("kind", DECODERS)
def test_several_prompts_together_as_alone(random_model: Make, kind: str) -> None:
    model = random_model(kind)
    strategies = [Strategy(strategy="beam", beams=beams, n=beams) for beams in (3, 1, 5, 2)]
    requests = [
        Request(prompt, Sampling(max_tokens=4 + 2 * i), strategy=strategy)
        for i, (prompt, strategy) in enumerate(zip(PROMPTS, strategies, strict=True))
    ]
    together = generate(model, requests)
    for request, found in zip(requests, together, strict=True):
        alone = generate(model, [request])[0]
        assert [one.ids for one in found.best] == [one.ids for one in alone.best]
        assert found.ids == alone.ids == list(found.best[0].ids)


def test_stop_texts_end_beams(random_model: Make, alphabet: Any) -> None:
    model = random_model("llama")
    request = Request((3,), Sampling(max_tokens=12), tokenizer=alphabet)
    whole = search(model, request, beams=3)
    stop = whole.text[4:6]
    cut = search(model, Request((3,), Sampling(max_tokens=12, stop=(stop,)), tokenizer=alphabet), beams=3, n=3)
    assert "stop" in {one.reason for one in cut.best}
    assert all(stop not in one.text for one in cut.best)
    assert cut.text == cut.best[0].text


def test_alternatives_of_every_token(random_model: Make) -> None:
    model = random_model("llama")
    found = search(model, Request((3,), Sampling(max_tokens=5, top_logprobs=3)), beams=3)
    plain = generate(model, [Request((3, *found.ids[:4]), Sampling(max_tokens=1, top_logprobs=3))])[0]
    assert [len(top) for top in found.top_logprobs] == [3] * 5
    assert [token for token, _ in found.top_logprobs[4]] == [token for token, _ in plain.top_logprobs[0]]


@pytest.mark.parametrize(
    ("settings", "sampling", "message"),
    [
        ({"beams": 2, "n": 3}, {}, r"n \(3\) is more than the 2 beams"),
        ({"alpha": 0.5}, {}, "alpha has no effect with strategy beam: leave it out, or choose contrastive"),
        ({}, {"temperature": 0.7}, "temperature has no effect with strategy beam, which draws nothing"),
        ({}, {"seed": 3}, "seed has no effect"),
        ({"strategy": "sample", "n": 2}, {}, "n has no effect with strategy sample"),
        ({"strategy": "bean"}, {}, "no 'bean' among the strategies; did you mean 'beam'"),
        ({"strategy": "mask-predict"}, {}, "mask-predict is for encoder models"),
        ({"strategy": "diverse-beam", "beams": 4, "groups": 3}, {}, "4 beams cannot be shared out to 3 groups"),
    ],
)
def test_what_does_not_fit_is_refused(
    random_model: Make, settings: dict[str, Any], sampling: dict[str, Any], message: str
) -> None:
    with pytest.raises(SettingsError, match=message):
        search(random_model("ngram"), Request((1,), Sampling(max_tokens=3, **sampling)), **settings)


@pytest.mark.parametrize("wrong", [{"beams": 10**6}, {"n": 10**6}, {"beams": 0}, {"early_stopping": "soon"}])
def test_values_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    from nextword.decode.settings_by_name import by_name

    with pytest.raises(SettingsError, match=next(iter(wrong))):
        by_name({"strategy": "beam", **wrong})


def test_scores_that_are_no_numbers_are_an_error(table: Make) -> None:
    from nextword.core.errors import CheckpointError

    with pytest.raises(CheckpointError, match="not finite"):
        search(table(3, lambda ids: (float("nan"), 0.5, 0.5)), Request((1,), Sampling(max_tokens=3)))
