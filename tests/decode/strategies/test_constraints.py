"""Constraints in every strategy: all that is given is what was asked for, with an end token and without one."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

import nextword as nw
from nextword.core.errors import SettingsError
from nextword.decode.settings import SamplingSettings as Sampling
from nextword.decode.strategy import Tools
from nextword.decode.strategy_settings import StrategySettings
from nextword.engine.generate import generate
from nextword.engine.reader import Reader
from nextword.engine.request import Generation, Request
from nextword.engine.step import PlainSteps
from nextword.tokenizers.settings import TokenizerSettings
from nextword.tokenizers.train import train

SCHEMA = {
    "type": "object",
    "properties": {"a": {"type": "integer", "minimum": 0, "maximum": 99}, "b": {"enum": ["x", "yes"]}},
    "required": ["a", "b"],
    "additionalProperties": False,
}
NUMBERS = "(1[0-9]{0,3},)+2"
ASKED: dict[str, Sampling] = {
    "regex": Sampling(regex="[a-c]{2,5}x", max_tokens=30),
    "copies": Sampling(regex=NUMBERS, max_tokens=30),
    "json_schema": Sampling(json_schema=json.dumps(SCHEMA), max_tokens=44),
}
STRATEGIES = {
    "beam": StrategySettings(strategy="beam", beams=3, n=3),
    "diverse-beam": StrategySettings(strategy="diverse-beam", beams=4, n=4),
    "contrastive": StrategySettings(strategy="contrastive"),
    "best-of": StrategySettings(strategy="best-of", candidates=4, n=4),
    "lookup": StrategySettings(strategy="lookup"),
    "speculative": StrategySettings(strategy="speculative"),
}


def holds(name: str, text: str) -> bool:
    if name == "json_schema":
        return jsonschema_rs.Draft7Validator(SCHEMA).is_valid(json.loads(text))
    return re.fullmatch(str(ASKED[name].regex), text) is not None


@pytest.fixture(scope="module")
def lm(tiny: Callable[[str], Path]) -> nw.LM:
    return nw.load(tiny("llama"))


@pytest.fixture(scope="module")
def endless(tiny: Callable[[str], Path]) -> nw.LM:
    """The same with a vocabulary in which no token ends a text."""
    found = nw.load(tiny("llama"))
    found.tokenizer.eos_id, found.tokenizer.stops = None, frozenset()
    return found


def asked_of(lm: nw.LM, tiny: Any, settings: Sampling, strategy: StrategySettings) -> Generation:
    drafted = strategy.strategy == "speculative"
    [found] = lm.continuations(
        ["The cat 12,13,12,"], settings, "never", strategy, nw.load(tiny("ngram")) if drafted else None
    )
    return found


@pytest.mark.parametrize("name", ASKED)
@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("ends", [True, False])
def test_all_results_are_what_was_asked_for(
    lm: nw.LM, endless: nw.LM, tiny: Any, name: str, strategy: str, ends: bool
) -> None:
    draws = strategy in {"best-of", "lookup", "speculative"}
    for seed in (1, 2) if draws else (None,):
        settings = replace(ASKED[name], temperature=1.0 if draws else 0.0, seed=seed)
        found = asked_of(lm if ends else endless, tiny, settings, STRATEGIES[strategy])
        assert found.complete == (found.reason != "length")
        results = [(text.text, text.reason) for text in found.best] or [(found.text, found.reason)]
        assert results[0] == (found.text, found.reason)
        cut = [reason == "length" for _, reason in results]
        assert cut == sorted(cut)  # those that were cut come last
        assert all(holds(name, text) for text, reason in results if reason != "length"), results
        assert name == "copies" or not any(cut), results


@pytest.mark.parametrize("name", ASKED)
@pytest.mark.parametrize("ends", [True, False])
def test_greedy_is_the_same_by_guesses_and_by_one_beam(
    lm: nw.LM, endless: nw.LM, tiny: Any, name: str, ends: bool
) -> None:
    held, settings = lm if ends else endless, replace(ASKED[name], temperature=0)
    plain = asked_of(held, tiny, settings, StrategySettings())
    for strategy in (STRATEGIES["lookup"], STRATEGIES["speculative"], StrategySettings(strategy="beam", beams=1)):
        found = asked_of(held, tiny, settings, strategy)
        assert (found.ids, found.text, found.reason) == (plain.ids, plain.text, plain.reason), strategy


@pytest.mark.parametrize("ends", [True, False])
def test_right_guesses_reach_the_end_of_what_is_asked_for(lm: nw.LM, endless: nw.LM, ends: bool) -> None:
    """The draft is the model itself, and costs nothing."""
    held = lm if ends else endless
    trace: list[Any] = []
    request = Request.of(held.tokenizer, "The cat", Sampling(regex="[a-c]{9}x", temperature=0, max_tokens=30))
    request = replace(request, strategy=STRATEGIES["speculative"])
    tools = Tools(Reader(PlainSteps(held.model)), 0.0, trace=trace)
    [found] = generate(held.model, [request], PlainSteps(held.model), tools)
    assert found.complete and re.fullmatch("[a-c]{9}x", found.text)
    assert sum(one.accepted for one in trace) >= 4 and all(one.accepted == len(one.tokens) for one in trace)


def letters_model(table: Any, likely: str) -> tuple[Any, Any]:
    """A model over single characters that finds those of `likely` a hundred times as likely as the others."""
    tokenizer = train(TokenizerSettings(kind="character"), ["cat dog x"])
    weights = [100.0 if tokenizer.token(number) in likely else 1.0 for number in range(tokenizer.vocab_size)]
    shares = [weight / sum(weights) for weight in weights]
    return table(tokenizer.vocab_size, lambda text: shares), tokenizer


def ask(table: Any, grammar: str, beams: int) -> Generation:
    model, tokenizer = letters_model(table, "cat")
    settings = Sampling(grammar=grammar, temperature=0, max_tokens=8)
    strategy = StrategySettings(strategy="beam", beams=beams)
    eos = tokenizer.eos_id
    [found] = generate(model, [Request((eos,), settings, frozenset({eos}), tokenizer, strategy=strategy)])
    return found


def test_a_beam_without_a_way_on_gives_way_to_others(table: Any) -> None:
    """The likeliest beginning leads to a character that the vocabulary lacks."""
    assert ask(table, 'root ::= "caté" | "dog"', beams=2).text == "dog"
    with pytest.raises(SettingsError, match="grammar: .* no token for what must follow"):
        ask(table, 'root ::= "caté" | "dog"', beams=1)


def test_what_was_cut_comes_last(table: Any) -> None:
    """Letters of cat are a hundred times as likely; but cats without an end are not what was asked for."""
    found = ask(table, 'root ::= "cat"{20} | "dog"', beams=3)
    assert (found.text, found.complete) == ("dog", True)
    model, tokenizer = letters_model(table, "cat")
    eos = tokenizer.eos_id
    for seed in range(3):
        settings = Sampling(grammar='root ::= "cat"{20} | "dog"', max_tokens=8, seed=seed)
        strategy = StrategySettings(strategy="best-of", candidates=200, n=200)
        [best] = generate(model, [Request((eos,), settings, frozenset({eos}), tokenizer, strategy=strategy)])
        texts = [one.text for one in best.best]
        assert set(texts) == {"dog", "catcatca"} and texts == sorted(texts, reverse=True)
