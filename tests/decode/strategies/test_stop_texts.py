"""Stop texts and streams in every strategy: a text is shown up to its first stop text, and only in whole characters.

The model is a script that says given tokens. The texts have characters of every plane of Unicode, cut into tokens at
random, so that tokens begin and end within characters and within stop texts.
"""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nextword.decode.settings import SamplingSettings as Sampling
from nextword.decode.strategy import Tools
from nextword.decode.strategy_settings import StrategySettings
from nextword.engine.engine import Engine
from nextword.engine.generate import stream
from nextword.engine.reader import Reader
from nextword.engine.request import Generation, Request
from nextword.engine.step import PlainSteps
from nextword.tokenizers.base import Tokenizer
from nextword.tokenizers.settings import TokenizerSettings
from nextword.tokenizers.train import train

PROSE = ["a b ab ba é è 中文 中 🙂🙃 🙂 𠀀𠀁 \U000e0041\U000e0042 \U0010fffd"] * 3
REPLACEMENT = "\ufffd"
STRATEGIES = {
    "sample": StrategySettings(),
    "lookup": StrategySettings(strategy="lookup", guesses=4),
    "speculative": StrategySettings(strategy="speculative", guesses=4),
    "beam": StrategySettings(strategy="beam", beams=2),
    "best-of": StrategySettings(strategy="best-of", candidates=2),
}
ANY = ("L", "M", "N", "P", "S", "Z", "Cc", "Cf", "Co", "Cn")  # all but halves of surrogate pairs, which are no text
EVERY_PLANE = st.one_of(
    st.sampled_from("ab é中🙂"),
    *(
        st.characters(min_codepoint=plane << 16, max_codepoint=(plane << 16) | 0xFFFF, categories=ANY)
        for plane in range(17)
    ),
).filter(lambda character: character != REPLACEMENT)
PROPERTY = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module")
def letters() -> Tokenizer:
    """Byte-level, with some tokens of several bytes, of which many are no whole characters."""
    return train(TokenizerSettings(vocab_size=290, min_frequency=1), PROSE)


def cut(data: st.DataObject, tokenizer: Tokenizer, raw: bytes) -> list[int]:
    """The bytes of a text as tokens, by one of the many ways to cut it."""
    spelt = {number: tokenizer.token_bytes(number) for number in range(tokenizer.vocab_size)}
    ordinary = [(number, own) for number, own in spelt.items() if own and number not in tokenizer.specials]
    ids, place = [], 0
    while place < len(raw):
        number, own = data.draw(st.sampled_from([one for one in ordinary if raw.startswith(one[1], place)]))
        ids.append(number)
        place += len(own)
    return ids


def some_stops(data: st.DataObject, text: str) -> tuple[str, ...]:
    """Pieces of the text, or what may not occur in it."""
    count = data.draw(st.integers(0, 3))
    stops = []
    for _ in range(count):
        start = data.draw(st.integers(0, max(0, len(text) - 1)))
        stops.append(text[start : start + data.draw(st.integers(1, 4))] or data.draw(EVERY_PLANE))
    return tuple(stops)


def expected(tokenizer: Tokenizer, ids: list[int], stops: tuple[str, ...]) -> tuple[str, int | None]:
    """What is shown, and after how many tokens a stop text has been seen: from the whole text, by searching it anew."""
    raw = b""
    for count, number in enumerate(ids, 1):
        raw += tokenizer.token_bytes(number)
        seen = raw.decode(errors="ignore")  # of the last character only what is whole
        if places := [seen.find(stop) for stop in stops if stop in seen]:
            return seen[: min(places)], count
    return raw.decode(), None


def script(table: Any, tokenizer: Tokenizer, ids: list[int]) -> Any:
    """A model that says these tokens behind a prompt of one, and then the end; all else is unlikely."""
    size = tokenizer.vocab_size

    def distribution(text: tuple[int, ...]) -> list[float]:
        wanted = ids[len(text) - 1] if len(text) <= len(ids) else tokenizer.eos_id
        return [1 - 1e-6 if number == wanted else 1e-6 / (size - 1) for number in range(size)]

    return table(size, distribution)


def asked(tokenizer: Tokenizer, strategy: str, count: int, stops: tuple[str, ...]) -> Request:
    temperature = 1.0 if strategy == "best-of" else 0.0
    sampling = Sampling(temperature=temperature, seed=0 if temperature else None, max_tokens=count, stop=stops)
    assert tokenizer.eos_id is not None
    eos = tokenizer.eos_id
    return Request((eos,), sampling, frozenset({eos}), tokenizer, strategy=STRATEGIES[strategy])


@pytest.mark.parametrize("strategy", STRATEGIES)
@PROPERTY
@given(data=st.data())
def test_what_is_shown_ends_before_the_first_stop_text(
    letters: Tokenizer, table: Any, strategy: str, data: st.DataObject
) -> None:
    text = data.draw(st.text(EVERY_PLANE, max_size=8))
    ids = cut(data, letters, text.encode())
    stops = some_stops(data, text)
    shown, count = expected(letters, ids, stops)
    tools = Tools()
    if strategy == "speculative":  # the draft errs now and then
        wrong = [number if data.draw(st.integers(0, 4)) else ord("a") for number in ids]
        tools = Tools(Reader(PlainSteps(script(table, letters, wrong))), cost=0.05)
    results: list[Generation] = []
    request = asked(letters, strategy, len(ids) + 2, stops)
    pieces = [step.text for step in stream(script(table, letters, ids), [request], results, tools=tools)]
    [found] = results
    assert "".join(pieces) == found.text == shown
    assert all(REPLACEMENT not in piece for piece in pieces)
    assert found.ids == ids[:count]
    assert found.reason == ("eos" if count is None else "stop")


@PROPERTY
@given(data=st.data())
def test_the_engine_shows_the_same(letters: Tokenizer, table: Any, data: st.DataObject) -> None:
    texts = data.draw(st.lists(st.text(EVERY_PLANE, max_size=6), min_size=1, max_size=3))
    for text in texts:
        ids = cut(data, letters, text.encode())
        stops = some_stops(data, text)
        shown, count = expected(letters, ids, stops)
        engine = Engine(script(table, letters, ids))
        for _ in range(2):  # alike, side by side
            engine.add(asked(letters, "sample", len(ids) + 1, stops))
        said: dict[int, list[Any]] = {}
        while engine.open:
            for number, step in engine.step():
                said.setdefault(number, []).append(step)
        for steps in said.values():
            assert "".join(step.text for step in steps) == shown
            assert all(REPLACEMENT not in step.text for step in steps)
            assert len(steps) == (len(ids) + 1 if count is None else count)


@PROPERTY
@given(data=st.data())
def test_a_text_that_is_cut_off_shows_all_whole_characters(letters: Tokenizer, table: Any, data: st.DataObject) -> None:
    """max_tokens may fall within a character: what is there of it is U+FFFD, as decoding at once gives it."""
    text = data.draw(st.text(EVERY_PLANE, min_size=1, max_size=8))
    ids = cut(data, letters, text.encode())
    count = data.draw(st.integers(1, len(ids)))
    results: list[Generation] = []
    steps = list(stream(script(table, letters, ids), [asked(letters, "sample", count, ())], results))
    assert "".join(step.text for step in steps) == results[0].text == letters.decode(ids[:count])
    assert all(REPLACEMENT not in step.text for step in steps[:-1])
    assert text.startswith(results[0].text.rstrip(REPLACEMENT))
