"""The engine: what a text gets is what it gets alone, blocks never leak, errors stay with their text."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nextword.core.errors import CheckpointError, SettingsError
from nextword.decode.row import Step
from nextword.decode.settings import SamplingSettings as Sampling
from nextword.engine.blocks import Blocks, names
from nextword.engine.engine import NEAR, Engine
from nextword.engine.generate import generate
from nextword.engine.reading import PagedReader
from nextword.engine.request import Request
from nextword.engine.settings import EngineSettings
from nextword.models.create import create
from nextword.models.settings import ModelSettings

VOCABULARY = 60
SMALL = EngineSettings(rows=4, step_tokens=8, block=4, cache_tokens=96)  # everything runs out


def random_model(family: str = "llama", **sizes: Any) -> Any:
    given_: dict[str, Any] = {"width": 32, "depth": 2, "heads": 4, "max_length": 64}
    sizes = {"ngram": {"order": 3}, "lstm": {"width": 32, "depth": 1}}.get(family, {**given_, **sizes})  # type: ignore[assignment]
    model = create(ModelSettings(family=family, **sizes), VOCABULARY, seed=0, eos_id=0)
    generator = torch.Generator().manual_seed(7)
    if family != "ngram":
        with torch.no_grad():
            for weight in model.parameters():
                weight.copy_(torch.randn(weight.shape, generator=generator) * 0.3 + (weight.dim() == 1))
    return model


@pytest.fixture(scope="module")
def llama() -> Any:
    return random_model(kv_heads=2)


def run(engine: Engine, requests: list[Request]) -> list[list[Step]]:
    """All requests to their ends."""
    numbers = [engine.add(request) for request in requests]
    found: dict[int, list[Step]] = {number: [] for number in numbers}
    while engine.open:
        for number, step in engine.step():
            assert isinstance(step, Step), step
            found[number].append(step)
    return [found[number] for number in numbers]


def tokens(steps: list[Step]) -> list[int]:
    return [step.token for step in steps]


def check_blocks(engine: Engine) -> None:
    """Every block has as many users as texts that list it; what nobody uses can be taken; names point to blocks."""
    blocks = engine.scheduler.blocks
    users = [0] * blocks.count
    for text in engine.texts.values():
        for number in text.blocks:
            users[number] += 1
    assert blocks.users == users
    assert set(blocks.unused) == {number for number, count in enumerate(users) if not count}
    assert all(blocks.name_of[number] == name for name, number in blocks.named.items())
    assert sum(name is not None for name in blocks.name_of) == len(blocks.named)


PROMPTS = [(3, 1, 4, 1, 5, 9, 2, 6), (2, 7), (1,), tuple(range(5, 40)), (3, 1, 4, 1, 5, 9, 2, 6, 5, 3)]


@pytest.mark.parametrize("family", ["llama", "gpt2", "lstm", "ngram", "mistral", "gpt_neox", "nextword", "mixtral"])
@pytest.mark.parametrize("compiled", ["auto", "never"])
def test_each_gets_what_it_gets_alone(family: str, compiled: Any) -> None:
    if compiled == "auto" and family in {"lstm", "ngram", "mistral", "nextword"}:
        pytest.skip("has no compiled attention")
    model = random_model(family)
    rows = [Sampling(temperature=t, max_tokens=n, seed=n) for t, n in ((0, 12), (1.0, 7), (0.8, 20), (1.2, 3), (0, 9))]
    requests = [Request(prompt, row) for prompt, row in zip(PROMPTS, rows, strict=True)]
    found = run(Engine(model, SMALL, compiled), requests)
    for steps, request in zip(found, requests, strict=True):
        [alone] = generate(model, [request], "never")
        assert tokens(steps) == alone.ids
        assert [step.logprob for step in steps] == pytest.approx(alone.logprobs, abs=1e-4)
        assert [step.stop for step in steps] == [None] * (len(steps) - 1) + ["length"]


def test_a_shared_beginning_is_read_once(llama: Any) -> None:
    engine = Engine(llama, EngineSettings(rows=8, step_tokens=16, block=4, cache_tokens=400))
    read = []
    inner = engine.reader.read

    def counting(works: Any) -> Any:
        read.append(sum(work.count for work in works))
        return inner(works)

    engine.reader.read = counting
    begin = tuple(range(1, 33))
    requests = [Request((*begin, 40 + i), Sampling(temperature=0, max_tokens=3)) for i in range(6)]
    found = run(engine, requests)
    assert sum(read) == 33 + 5 * 1 + 6 * 2  # the first whole, of the others the last token; then two more each
    assert [tokens(steps) for steps in found] == [one.ids for one in generate(llama, requests, "never")]
    again = run(engine, requests[:1])
    assert sum(read) == 50 + 1 + 2  # its blocks were kept though nobody used them
    assert tokens(again[0]) == tokens(found[0])


def test_long_prompts_hold_up_nobody(llama: Any) -> None:
    engine = Engine(llama, EngineSettings(rows=4, step_tokens=8, block=4, cache_tokens=400))
    running = engine.add(Request((1, 2), Sampling(temperature=0, max_tokens=30)))
    engine.step()
    engine.add(Request(tuple(range(1, 51)), Sampling(temperature=0, max_tokens=2)))
    for _ in range(7):  # 50 tokens in chunks of 7, since the text that runs takes one of 8
        assert [number for number, _ in engine.step()] == [running]
    assert len(engine.step()) == 2


def test_when_blocks_run_out_the_last_gives_way_and_nothing_is_lost(llama: Any) -> None:
    engine = Engine(llama, EngineSettings(rows=4, step_tokens=64, block=4, cache_tokens=60))
    requests = [Request((i, 2, 3), Sampling(temperature=0, max_tokens=30)) for i in range(4)]
    found = run(engine, requests)
    assert engine.scheduler.preempted > 0
    assert [tokens(steps) for steps in found] == [one.ids for one in generate(llama, requests, "never")]
    check_blocks(engine)


def test_scores_that_are_no_numbers_end_one_text_alone(llama: Any) -> None:
    engine = Engine(llama, SMALL, "never")
    inner = llama.logits

    def broken(hidden_ND: torch.Tensor) -> torch.Tensor:
        logits_NV = inner(hidden_ND).clone()
        if len(engine.scheduler.running) == 3:
            logits_NV[1] = float("nan")
        return logits_NV

    llama.logits = broken
    try:
        numbers = [engine.add(Request(prompt, Sampling(temperature=0, max_tokens=4))) for prompt in PROMPTS[:3]]
        found: dict[int, list[Any]] = {number: [] for number in numbers}
        while engine.open:
            for number, what in engine.step():
                found[number].append(what)
    finally:
        llama.logits = inner
    errors = {number: what for number, whats in found.items() for what in whats if isinstance(what, CheckpointError)}
    assert len(errors) == 1
    assert "scores are not finite" in str(*errors.values())
    for number, prompt in zip(numbers, PROMPTS, strict=False):
        if number not in errors:
            [alone] = generate(llama, [Request(prompt, Sampling(temperature=0, max_tokens=4))], "never")
            assert tokens(found[number]) == alone.ids
    check_blocks(engine)


def test_what_can_never_fit_is_refused(llama: Any) -> None:
    engine = Engine(llama, EngineSettings(block=4, cache_tokens=20))
    with pytest.raises(SettingsError, match="need more than the cache of 20 places"):
        engine.add(Request((1, 2), Sampling(max_tokens=30)))
    with pytest.raises(SettingsError, match="not in the model's vocabulary"):
        engine.add(Request((1, 99), Sampling(max_tokens=3)))
    assert engine.open == 0


def test_greedy_differs_only_where_the_two_best_are_near() -> None:
    """Flat scores, so that ties nearly happen: with others, a text may leave its path only at one."""
    model = random_model(width=64)
    with torch.no_grad():
        model.embedding.weight.mul_(1e-3)
    texts = [tuple((i * j) % 59 + 1 for j in range(1, 9)) for i in range(1, 25)]
    requests = [Request(ids, Sampling(temperature=0, max_tokens=24, top_logprobs=2)) for ids in texts]
    together = run(Engine(model, EngineSettings(rows=24, step_tokens=64)), requests)
    left = 0
    for steps, request in zip(together, requests, strict=True):
        [alone] = generate(model, [request], "never")
        same = [a == b for a, b in zip(tokens(steps), alone.ids, strict=True)]
        parted = None if all(same) else same.index(False)
        if parted is not None:
            (_, best), (_, second) = alone.top_logprobs[parted]
            assert best - second < NEAR
            left += 1
    assert left < len(texts)


def test_names_stand_for_whole_beginnings() -> None:
    assert names([1, 2, 3, 4, 5, 6, 7], 3) == names([1, 2, 3], 3) + names([4, 5, 6], 3, names([1, 2, 3], 3)[0])
    assert names([1, 2, 3, 4], 2)[1] != names([9, 2, 3, 4], 2)[1]


def test_what_was_used_longest_ago_is_forgotten_first() -> None:
    blocks = Blocks(3, 2)
    first, second, third = blocks.take(), blocks.take(), blocks.take()
    for number, name in ((first, b"1"), (second, b"2"), (third, b"3")):
        blocks.keep(number, name)
    blocks.leave([second])
    blocks.leave([first])
    assert blocks.share(b"2") == second  # found again, and in use
    assert (blocks.free, blocks.take()) == (1, first)
    assert (blocks.share(b"1"), blocks.share(b"3")) == (None, third)


ACTION = st.one_of(
    st.tuples(st.just("add"), st.integers(0, 3), st.integers(1, 12), st.integers(1, 14), st.booleans()),
    st.tuples(st.just("cancel"), st.integers(0, 20)),
    st.just(("step",)),
)


@settings(max_examples=40, deadline=None)
@given(actions=st.lists(ACTION, min_size=5, max_size=40))
def test_whatever_comes_and_goes(llama: Any, actions: list[tuple[Any, ...]]) -> None:
    """Arrivals and cancellations in any order: blocks never leak, every text ends, with the tokens it gets alone."""
    engine = Engine(llama, EngineSettings(rows=3, step_tokens=6, block=4, cache_tokens=44), "never")
    requests: dict[int, Request] = {}
    found: dict[int, list[Step]] = {}

    def step() -> None:
        for number, what in engine.step():
            assert isinstance(what, Step), what
            found[number].append(what)
        check_blocks(engine)

    for action in actions:
        if action[0] == "add":
            _, kind, length, count, greedy = action
            prompt = tuple((kind * 7 + place * (1 if place < 8 else kind + 1)) % VOCABULARY for place in range(length))
            request = Request(prompt, Sampling(temperature=0 if greedy else 1.0, max_tokens=count, seed=length))
            number = engine.add(request)
            requests[number], found[number] = request, []
        elif action[0] == "cancel":
            engine.cancel(action[1])
            if action[1] in requests and not (found[action[1]] and found[action[1]][-1].stop):
                del requests[action[1]]
        else:
            step()
    for _ in range(2000):
        if not engine.open:
            break
        step()
    assert engine.open == 0
    assert engine.scheduler.blocks.free == engine.scheduler.blocks.count
    for number, request in requests.items():
        assert tokens(found[number]) == alone(llama, request)


KNOWN: dict[Any, list[int]] = {}


def alone(model: Any, request: Request) -> list[int]:
    key = (request.ids, request.settings.temperature, request.settings.max_tokens, request.settings.seed)
    if key not in KNOWN:
        [found] = generate(model, [request], "never")
        KNOWN[key] = found.ids
    return KNOWN[key]


def test_the_paged_reader_serves_decoders_that_see_everything() -> None:
    assert isinstance(Engine(random_model()).reader, PagedReader)
    assert not isinstance(Engine(random_model("lstm")).reader, PagedReader)
