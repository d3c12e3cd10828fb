"""Processors: their formulas by hand, and all of them against transformers' own, alone and in a chain."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from nextword.core.errors import SettingsError
from nextword.decode import chain
from nextword.decode.history import History
from nextword.decode.settings import SamplingSettings as Sampling

PROBABILITIES = torch.tensor([[0.3, 0.05, 0.5, 0.15]])
INF = float("inf")


def row(settings: Sampling, vocab_size: int, prompt: tuple[int, ...] = (0,), new: tuple[int, ...] = ()) -> History:
    found = History(settings, prompt, vocab_size, limit=10, eos_ids={1})
    for token in new:
        found.push(token)
    return found


def process(logits_BV: Tensor, settings: list[Sampling], **history: Any) -> Tensor:
    return chain.process(logits_BV, [row(one, logits_BV.shape[-1], **history) for one in settings])


def kept(settings: Sampling, probabilities: Tensor = PROBABILITIES, **history: Any) -> list[int]:
    """The tokens that can still be chosen."""
    return process(probabilities.log(), [settings], **history).isfinite()[0].nonzero().flatten().tolist()


def test_temperature_divides_the_logits() -> None:
    hot = process(torch.tensor([[2.0, 0.0]]), [Sampling(temperature=2.0)])
    assert hot.tolist() == [[1.0, 0.0]]
    assert torch.allclose(hot.softmax(-1)[0, 0], torch.tensor(torch.e / (torch.e + 1)))


def test_temperature_far_above_one_is_uniform() -> None:
    flat = process(PROBABILITIES.log(), [Sampling(temperature=1e6)]).softmax(-1)
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


def test_top_p_takes_the_first_of_equals() -> None:
    assert kept(Sampling(top_p=0.45), torch.tensor([[0.25, 0.25, 0.25, 0.25]])) == [0, 1]
    assert kept(Sampling(top_p=0.6), torch.tensor([[0.2, 0.4, 0.2, 0.2]])) == [0, 1]


def test_top_p_of_a_flat_distribution_over_a_large_vocabulary() -> None:
    assert len(kept(Sampling(top_p=0.75), torch.full((1, 4000), 1 / 4000))) == 3000


def test_top_p_looks_at_what_temperature_and_top_k_leave() -> None:
    # top-k leaves .5 .3 .15, which is .526 .316 .158 of what is left: .53 needs two, at 1/4 of the temperature one
    assert kept(Sampling(top_k=3, top_p=0.53)) == [0, 2]
    assert kept(Sampling(top_k=3, top_p=0.53, temperature=0.25)) == [2]


@pytest.mark.parametrize(("p", "expected"), [(0.09, [0, 1, 2, 3]), (0.29, [0, 2, 3]), (0.31, [0, 2]), (0.61, [2])])
def test_min_p_by_hand(p: float, expected: list[int]) -> None:  # beside .5: .6, .1, 1, .3
    assert kept(Sampling(min_p=p)) == expected


def test_typical_by_hand() -> None:
    """H = 1.142 nats; |-log p - H| is .062, 1.853, .449, .755: in the order 0, 2, 3, 1."""
    for p, expected in [(0.1, [0]), (0.3, [0]), (0.31, [0, 2]), (0.81, [0, 2, 3]), (0.96, [0, 1, 2, 3])]:
        assert kept(Sampling(typical_p=p)) == expected
    # one token of .9 among ten of .01: H = .556, .9 is .450 from it, .01 is 4.05; but of .6 and ten of .04 it is out
    flat = torch.tensor([[0.6] + [0.04] * 10])  # H = 1.594: .6 is 1.083 away, .04 is 1.625
    assert kept(Sampling(typical_p=0.5), flat) == [0]
    flatter = torch.tensor([[0.3] + [0.02] * 35])  # H = 3.100: .3 is 1.896 away, .02 is .812
    assert 0 not in kept(Sampling(typical_p=0.6), flatter)


def test_epsilon_and_eta_by_hand() -> None:
    assert kept(Sampling(epsilon=0.16)) == [0, 2]
    assert kept(Sampling(epsilon=0.6)) == [2]  # none reaches it: the likeliest stays
    # H = 1.142: exp(-H) = .319; ε = .3: √ε · .319 = .175 < .3, so the bar is .175; ε = .05: .0714 > .05
    assert kept(Sampling(eta=0.3)) == [0, 2]
    assert kept(Sampling(eta=0.04)) == [0, 1, 2, 3]


def test_cuts_have_nothing_to_do_at_temperature_zero() -> None:
    greedy = Sampling(temperature=0, top_k=3, top_p=0.5, min_p=0.2, typical_p=0.3, epsilon=0.1, eta=0.1)
    logits_BV = PROBABILITIES.log()
    assert process(logits_BV, [greedy]) is logits_BV


def test_repetition_penalty_by_hand() -> None:
    """Prompt and new tokens count once; 0 stands in for neither."""
    logits_BV = torch.tensor([[2.0, -2.0, 0.0, 3.0, -1.0]])
    found = process(logits_BV, [Sampling(repetition_penalty=2.0)], prompt=(0, 2), new=(1, 1))
    assert found.tolist() == [[1.0, -4.0, 0.0, 3.0, -1.0]]


def test_presence_and_frequency_are_openais_formula() -> None:
    """z - c · frequency - [c > 0] · presence, c counts new tokens only."""
    settings = Sampling(presence_penalty=0.5, frequency_penalty=0.25)
    found = process(torch.zeros(1, 5), [settings], prompt=(0, 0, 3), new=(1, 3, 1, 1))
    assert found.tolist() == [[0.0, -1.25, 0.0, -0.75, 0.0]]
    assert process(torch.zeros(1, 5), [settings], prompt=(0, 0, 3)).tolist() == [[0.0] * 5]


def test_no_repeat_ngram_by_hand() -> None:
    assert kept(Sampling(no_repeat_ngram=1), prompt=(0,), new=(2,)) == [1, 3]
    assert kept(Sampling(no_repeat_ngram=2), prompt=(0, 1, 0, 2), new=(0,)) == [0, 3]  # 0 1 and 0 2 are there
    assert kept(Sampling(no_repeat_ngram=3), prompt=(0, 1, 2, 3), new=(0, 1)) == [0, 1, 3]
    assert kept(Sampling(no_repeat_ngram=9), prompt=(0, 0, 0)) == [0, 1, 2, 3]


def test_banned_sequences_by_hand() -> None:
    settings = Sampling(banned_ids=((3,), (0, 2), (1, 1, 1), (2, 2, 2, 2, 2, 2)))
    assert kept(settings, prompt=(0,)) == [0, 1]
    assert kept(settings, prompt=(1,)) == [0, 1, 2]
    assert kept(settings, prompt=(1,), new=(1,)) == [0, 2]


def test_logit_bias_is_added() -> None:
    found = process(torch.zeros(2, 4), [Sampling(logit_bias={1: 2.5, 3: -100}), Sampling(logit_bias={0: 1})])
    assert found.tolist() == [[0.0, 2.5, 0.0, -100.0], [1.0, 0.0, 0.0, 0.0]]


def test_min_tokens_keeps_a_text_from_ending() -> None:
    settings = Sampling(min_tokens=2)
    assert kept(settings, new=(0,)) == [0, 2, 3]
    assert kept(settings, new=(0, 0)) == [0, 1, 2, 3]


def test_forced_tokens_first_last_and_at_a_place() -> None:
    settings = Sampling(forced={0: 3, 2: 1, -1: 2})
    found = [kept(settings, new=(0,) * count) for count in range(10)]
    assert found[0] == [3] and found[2] == [1] and found[9] == [2]
    assert all(tokens == [0, 1, 2, 3] for place, tokens in enumerate(found) if place not in {0, 2, 9})
    assert kept(Sampling(forced={0: 3}, banned_ids=((3,),))) == [3]


SETTINGS = [
    Sampling(temperature=0.5, top_k=7),
    Sampling(),
    Sampling(top_p=0.4, repetition_penalty=1.3),
    Sampling(temperature=0.0, presence_penalty=1.0),
    Sampling(min_p=0.1, frequency_penalty=0.7, logit_bias={3: 4.0}),
    Sampling(typical_p=0.8, no_repeat_ngram=1),
    Sampling(epsilon=0.01, banned_ids=((4,), (2, 5))),
    Sampling(eta=0.02, min_tokens=50, forced={5: 1}),
]


def test_rows_have_settings_of_their_own() -> None:
    """A batch of rows of all kinds, with texts of different lengths, gives each what it gets alone; none is changed."""
    generator = torch.Generator().manual_seed(0)
    logits_BV = torch.randn(len(SETTINGS), 50, generator=generator)
    before = logits_BV.clone()
    rows = []
    for i, one in enumerate(SETTINGS):
        text = torch.randint(0, 50, (2 * i + 1,), generator=generator).tolist()
        rows.append(row(one, 50, tuple(text[: i + 1]), tuple(text[i + 1 :])))
    together = chain.process(logits_BV, rows)
    alone = torch.cat([chain.process(logits_BV[i : i + 1], [one]) for i, one in enumerate(rows)])
    assert torch.equal(together, alone)
    assert torch.equal(together[1], logits_BV[1])
    assert torch.equal(logits_BV, before)


def test_rows_fork_and_rewind() -> None:
    """Beams copy a row, speculation takes tokens back: what a processor sees is what the row has."""
    one = row(Sampling(no_repeat_ngram=1), 200, (0,), tuple(range(1, 100)))
    two = one.fork()
    two.push(150)
    one.rewind(50)
    logits_BV = torch.zeros(2, 200)
    free = chain.process(logits_BV, [one, two]).isfinite()
    assert free[0].nonzero().flatten().tolist() == list(range(50, 200))
    assert free[1].nonzero().flatten().tolist() == [*range(100, 150), *range(151, 200)]
    assert (one.left, two.left) == (10 - 49, 10 - 100)


# transformers' processors by our settings
def theirs(settings: dict[str, Any]) -> list[Callable[[Tensor, Tensor], Tensor]]:
    import transformers as hf

    makers: dict[str, Callable[[Any], Callable[[Tensor, Tensor], Tensor]]] = {
        "logit_bias": lambda biases: hf.SequenceBiasLogitsProcessor([[[i], float(bias)] for i, bias in biases.items()]),
        "repetition_penalty": hf.RepetitionPenaltyLogitsProcessor,
        "no_repeat_ngram": hf.NoRepeatNGramLogitsProcessor,
        "banned_ids": lambda ids: hf.NoBadWordsLogitsProcessor([list(one) for one in ids]),
        "min_tokens": lambda count: hf.MinNewTokensLengthLogitsProcessor(PROMPT, count, 1),
        "temperature": hf.TemperatureLogitsWarper,
        "top_k": hf.TopKLogitsWarper,
        "top_p": hf.TopPLogitsWarper,
        "min_p": hf.MinPLogitsWarper,
        "typical_p": hf.TypicalLogitsWarper,
        "epsilon": hf.EpsilonLogitsWarper,
        "eta": hf.EtaLogitsWarper,
    }
    return [make(settings[name]) for name, make in makers.items() if name in settings]


ROWS, VOCABULARY, PROMPT, NEW = 16, 200, 20, 12


def batch(seed: int, ties: bool) -> tuple[Tensor, Tensor]:
    """Random scores, some of them -inf or equal, and texts in which tokens recur."""
    generator = torch.Generator().manual_seed(seed)
    logits_BV = 3 * torch.randn(ROWS, VOCABULARY, generator=generator)
    if ties:
        logits_BV = (2 * logits_BV).round() / 2
    logits_BV[torch.rand(ROWS, VOCABULARY, generator=generator) < 0.2] = -INF
    logits_BV[:, :8] = torch.randn(ROWS, 8, generator=generator)  # so that something is left of every row
    ids_BT = torch.randint(0, 40, (ROWS, PROMPT + NEW), generator=generator)
    return logits_BV, ids_BT


ALONE: list[dict[str, Any]] = [
    {"logit_bias": {0: 2.5, 7: -100.0, 199: 100.0}},
    {"repetition_penalty": 1.3},
    {"repetition_penalty": 0.7},
    *({"no_repeat_ngram": n} for n in (1, 2, 3)),
    {"banned_ids": ((5,), (6, 7), (8, 9, 10), *((i, j) for i in range(20) for j in range(20)))},
    {"min_tokens": NEW},
    {"min_tokens": NEW + 1},
    *({"temperature": t} for t in (0.3, 1.7)),
    *({"top_k": k} for k in (1, 7, 500)),
    *({"top_p": p} for p in (0.05, 0.5, 0.9, 0.999)),
    *({"min_p": p} for p in (0.01, 0.2, 1.0)),
    *({"typical_p": p} for p in (0.1, 0.5, 0.95)),
    *({"epsilon": e} for e in (0.0005, 0.05)),
    *({"eta": e} for e in (0.0005, 0.05)),
]
CHAINS: list[dict[str, Any]] = [
    {"temperature": 0.7, "top_k": 20, "top_p": 0.9},
    {"temperature": 2.0, "top_k": 200, "top_p": 0.05},
    {"repetition_penalty": 1.2, "no_repeat_ngram": 2, "temperature": 0.6, "top_p": 0.8, "min_p": 0.02},
    {"logit_bias": {3: 5.0}, "banned_ids": ((2,), (4, 5)), "min_tokens": 30, "temperature": 1.4, "typical_p": 0.7},
    {"repetition_penalty": 1.1, "top_k": 90, "min_p": 0.001, "epsilon": 0.002, "eta": 0.01},
]


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("settings", ALONE + CHAINS, ids=str)
def test_equal_to_transformers(settings: dict[str, Any], ties: bool) -> None:
    logits_BV, ids_BT = batch(1, ties)
    expected_BV = logits_BV
    for processor in theirs(settings):
        expected_BV = processor(ids_BT, expected_BV)
    texts = ids_BT.tolist()
    rows = [row(Sampling(**settings), VOCABULARY, tuple(text[:PROMPT]), tuple(text[PROMPT:])) for text in texts]
    found_BV = chain.process(logits_BV, rows)
    if ties and "top_p" in settings:  # which of equals is cut is nobody's rule: as many of each score must be left
        expected_BV, found_BV = (scores_BV.sort(-1).values for scores_BV in (expected_BV, found_BV))
    assert torch.allclose(found_BV, expected_BV, atol=1e-6)


def test_forced_as_in_transformers() -> None:
    from transformers import ForcedBOSTokenLogitsProcessor, ForcedEOSTokenLogitsProcessor

    logits_BV = torch.randn(1, 8, generator=torch.Generator().manual_seed(0))
    for new in range(10):
        ids_BT = torch.zeros(1, 1 + new, dtype=torch.int64)
        expected = ForcedEOSTokenLogitsProcessor(11, 4)(ids_BT, ForcedBOSTokenLogitsProcessor(3)(ids_BT, logits_BV))
        assert torch.equal(process(logits_BV, [Sampling(forced={0: 3, -1: 4})], new=(0,) * new), expected)


def test_settings_that_together_leave_nothing() -> None:
    with pytest.raises(SettingsError, match="forbid every token here .banned_ids, min_tokens."):
        process(torch.zeros(1, 3), [Sampling(banned_ids=((0,), (2,)), min_tokens=5)])


@pytest.mark.parametrize(
    "wrong",
    [
        {"temperature": -1},
        {"temperature": 1e-9},
        {"temperature": float("nan")},
        {"top_k": 0},
        {"top_p": 0},
        {"top_p": 1.1},
        {"min_p": -0.1},
        {"min_p": 1.1},
        {"typical_p": 0},
        {"epsilon": 1.5},
        {"eta": -1},
        {"repetition_penalty": 0},
        {"repetition_penalty": math.inf},
        {"repetition_penalty": math.nan},
        {"presence_penalty": 2.1},
        {"frequency_penalty": -2.1},
        {"no_repeat_ngram": 0},
        {"logit_bias": {5: 101.0}},
        {"logit_bias": {5: math.nan}},
        {"banned_ids": ((),)},
        {"max_tokens": 0},
        {"min_tokens": -1},
        {"min_tokens": 5, "max_tokens": 4},
        {"seed": -1},
        {"stop": ("",)},
    ],
    ids=str,
)
def test_values_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match=next(iter(wrong))):
        Sampling(**wrong)


@pytest.mark.parametrize("wrong", [{"logit_bias": {4: 1.0}}, {"banned_ids": ((0, -1),)}, {"forced": {0: 99}}])
def test_tokens_outside_the_vocabulary_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match=f"{next(iter(wrong))}: there is no token .* 0 to 3"):
        row(Sampling(**wrong), 4)
