"""Steps over tensors that never move equal the model's own, also where they are recorded once and only repeated.

A CUDA graph knows nothing of Python any more. The recorder of these tests is as forgetful: it writes the tensor
operations down the first time (`make_fx`) and runs nothing but these from then on.
"""

import shutil
from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

from nextword.decode.row import Step
from nextword.decode.settings import SamplingSettings as Sampling
from nextword.decode.strategy_settings import StrategySettings as Strategy
from nextword.engine.engine import Engine
from nextword.engine.generate import generate
from nextword.engine.plans import graph
from nextword.engine.reading import PagedReader
from nextword.engine.replay import CompiledRecorder, GraphRecorder, Recorder, Work, again
from nextword.engine.request import Request
from nextword.engine.settings import EngineSettings
from nextword.engine.static import MOST_TOKENS, StaticSteps
from nextword.engine.static_pages import StaticPages
from nextword.engine.step import Compiled, PlainSteps, stepper
from nextword.models.create import create, drawn
from nextword.models.settings import ModelSettings
from nextword.models.transformer import Transformer

VOCABULARY = 83
SIZES = {"width": 32, "depth": 3, "heads": 4, "max_length": 640}
FAMILIES = {
    "llama": {"kv_heads": 2},
    "gpt2": {},  # learned positions
    "bloom": {"max_length": None},  # a bias by distance
    "mistral": {"kv_heads": 2},
    "gemma2": {"kv_heads": 2, "head_width": 16},  # capped scores, windows
    "gemma3_text": {"kv_heads": 2, "head_width": 16},  # angles of two kinds
    "gpt_neox": {},  # both parts at once
}
CHANGES = {
    "mistral": {"sliding_window": 12},
    "gemma2": {"sliding_window": 12},
    "gemma3_text": {"sliding_window": 12},
}
STRETCHED = {"rope_type": "dynamic", "factor": 2.0}


def made(family: str, **changes: object) -> Transformer:
    """A model with all tensors drawn anew."""
    sizes = {**SIZES, **FAMILIES[family]}
    config = create(ModelSettings(family=family, **{k: v for k, v in sizes.items() if v is not None}), VOCABULARY, 0)
    model = drawn({**config.config, **CHANGES.get(family, {}), **changes}, 0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn(weight.shape, generator=generator) * (0.1 if weight.dim() == 1 else 0.15))
    return model.eval()


def written_down(work: Work, tensors: Sequence[Tensor]) -> Callable[[], Tensor]:
    """Repeats the operations of the first time on the same tensors."""
    traced = make_fx(work)(*tensors)
    return lambda: traced(*tensors)


def ids(count: int, seed: int) -> list[int]:
    return torch.randint(0, VOCABULARY, (count,), generator=torch.Generator().manual_seed(seed)).tolist()


def compare(model: Transformer, recorder: Recorder, device: str = "cpu", limit: float = 1e-4) -> None:
    """Ragged rows that grow, fork, leave, are taken back and go on from older states."""
    static, plain = StaticSteps(model, recorder), PlainSteps(model)

    def both(found: tuple, wanted: tuple) -> tuple:
        (found_NV, a), (wanted_NV, b) = found, wanted
        assert found_NV.shape == wanted_NV.shape and a.lengths == b.lengths
        assert (found_NV - wanted_NV).abs().max() <= limit * wanted_NV.abs().max()
        return a, b

    prompts = [ids(5, 0), ids(1, 1), ids(250, 2)]
    a, b = both(static.prefill(prompts, 251), plain.prefill(prompts, 251))
    for number in range(12):  # past the first span and past what was allocated
        row = ids(3, 10 + number)
        a, b = both(static.step(row, a), plain.step(row, b))
    older = a, b
    rows = torch.tensor([2, 0, 0, 1, 0], device=device)
    a, b = both(static.step(ids(5, 40), a.select(rows)), plain.step(ids(5, 40), b.select(rows)))
    pieces = [ids(count, 50 + count) for count in (3, 1, 2, 7, 1)]
    a, b = both(static.extend(pieces, a), plain.extend(pieces, b))
    back = torch.tensor([2, 0, 1, 5, 0], device=device)
    a, b = a.crop(a.lengths_B - back), b.crop(b.lengths_B - back)
    a, b = both(static.step(ids(5, 60), a), plain.step(ids(5, 60), b))
    older = both(static.step(ids(3, 70), older[0]), plain.step(ids(3, 70), older[1]))  # another state in between
    both(static.step(ids(5, 80), a), plain.step(ids(5, 80), b))
    longer = [ids(MOST_TOKENS + 4, 90), ids(1, 91), ids(2, 92)]
    older = both(static.extend(longer, older[0]), plain.extend(longer, older[1]))  # by the plain way
    both(static.step(ids(3, 93), older[0]), plain.step(ids(3, 93), older[1]))


@pytest.mark.parametrize("recorder", [again, written_down])
@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_static_steps_equal_plain_ones(family: str, recorder: Recorder) -> None:
    compare(made(family), recorder)


def test_angles_that_depend_on_the_length_of_each_row() -> None:
    model = made("llama", rope_scaling=STRETCHED, max_position_embeddings=64)
    assert model.max_length is None or model.max_length > 64
    compare(model, written_down)


def test_a_state_moves_in_once_and_who_lived_there_keeps_its_own() -> None:
    steps = StaticSteps(made("llama"), again)
    _, first = steps.prefill([[1, 2, 3]], 20)
    wanted_1V, after = steps.step([4], first)
    (room,) = steps.rooms.values()
    assert room.lodges(first.layers) and room.lodges(after.layers)
    _, second = steps.prefill([[7, 8, 9]], 20)
    steps.step([1], second)
    assert room.lodges(second.layers) and not room.lodges(first.layers)
    found_1V, _ = steps.step([4], first)  # as if nobody else had come
    assert torch.equal(found_1V, wanted_1V) and room.lodges(first.layers)


@pytest.mark.parametrize("family", ["llama", "mistral"])
def test_states_made_for_more_than_those_before(family: str) -> None:
    """The room that is there may be too small for what a state was made for, and no room is longer than the model."""
    model = made(family)
    static, plain = StaticSteps(model, again), PlainSteps(model)
    for length in (20, 600, 700, 20):
        (_, a), (_, b) = static.prefill([[1, 2, 3]], length), plain.prefill([[1, 2, 3]], length)
        (found_1V, _), (wanted_1V, _) = static.step([4], a), plain.step([4], b)
        assert (found_1V - wanted_1V).abs().max() <= 1e-4 * wanted_1V.abs().max()


def test_spans_double_and_each_is_recorded_once() -> None:
    recorded: list[tuple[int, ...]] = []

    def counting(work: Work, tensors: Sequence[Tensor]) -> Callable[[], Tensor]:
        recorded.append(tuple(tensors[0].shape))
        return again(work, tensors)

    steps = StaticSteps(made("llama"), counting)
    _, state = steps.prefill([ids(250, 0)], 600)
    for number in range(20):
        _, state = steps.step([number], state)
    assert recorded == [(2, 1, 1)] * 2  # up to 256 keys, and up to 512
    (room,) = steps.rooms.values()
    assert [room.span(length) for length in (1, 256, 257, 600, 640)] == [256, 256, 512, 640, 640]


@pytest.mark.parametrize("strategy", [
    Strategy(),
    Strategy(strategy="beam", beams=3),
    Strategy(strategy="lookup"),
    Strategy(strategy="best-of", candidates=3),
], ids=lambda one: one.strategy or "sample")  # fmt: skip
def test_every_strategy_writes_the_same_text(strategy: Strategy) -> None:
    model = made("llama")
    copied = ids(9, 5) * 3
    sampling = Sampling(max_tokens=24, temperature=1.0 if strategy.strategy == "best-of" else 0.0, seed=3)
    requests = [Request(tuple(prompt), sampling, strategy=strategy) for prompt in (copied, ids(4, 6), copied[:-2])]
    found, wanted = (
        generate(model, requests, steps) for steps in (StaticSteps(model, written_down), PlainSteps(model))
    )
    assert [one.ids for one in found] == [one.ids for one in wanted]


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_the_work_is_one_graph_for_a_compiler(family: str) -> None:
    """Nothing in it asks a tensor for its numbers, and no part of it is left to Python."""
    model = made(family)
    static, plain = StaticSteps(model, CompiledRecorder(again, "eager")), PlainSteps(model)
    (_, a), (_, b) = static.prefill([[5, 6, 7], [1]], 9), plain.prefill([[5, 6, 7], [1]], 9)
    for row in ([3, 4], [8, 80]):
        (found_BV, a), (wanted_BV, b) = static.step(row, a), plain.step(row, b)
        assert (found_BV - wanted_BV).abs().max() <= 1e-4 * wanted_BV.abs().max()


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("c++") is None, reason="Inductor needs a compiler for the CPU")
@pytest.mark.parametrize("family", ["llama", "gemma3_text", "bloom"])
def test_joined_operations_equal_plain_ones(family: str) -> None:
    """`torch.compile` with the compiler that a GPU gets, here for the CPU."""
    model = made(family)
    static, plain = StaticSteps(model, CompiledRecorder(again)), PlainSteps(model)
    (_, a), (_, b) = static.prefill([[5, 6, 7], [1]], 9), plain.prefill([[5, 6, 7], [1]], 9)
    for row in ([3, 4], [8, 80]):
        (found_BV, a), (wanted_BV, b) = static.step(row, a), plain.step(row, b)
        assert (found_BV - wanted_BV).abs().max() <= 1e-4 * wanted_BV.abs().max()


def test_which_models_can_be_recorded() -> None:
    assert graph.capturable(made("llama")) and not graph.fits(made("llama"))  # not on a GPU
    sizes = {"width": 32, "depth": 2, "heads": 4}
    assert not graph.capturable(create(ModelSettings(family="mixtral", **sizes), VOCABULARY, 0))
    assert not graph.capturable(create(ModelSettings(family="bert", **sizes), VOCABULARY, 0, pad_id=0))


@pytest.mark.gpu
@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_graphs_equal_plain_steps(family: str, compiled: bool) -> None:
    model = made(family).to("cuda")
    graphs = GraphRecorder(torch.device("cuda"))
    compare(model, CompiledRecorder(graphs) if compiled else graphs, "cuda", limit=1e-3)


@pytest.mark.gpu
def test_the_plan_takes_models_on_a_gpu() -> None:
    model = made("llama").to("cuda")
    assert isinstance(stepper(model, 10_000), StaticSteps)
    assert isinstance(stepper(model, 10), PlainSteps)  # not worth recording


PAGED = ["llama", "gpt2", "gpt_neox"]


@pytest.mark.parametrize("recorder", [written_down, CompiledRecorder(again, "eager")], ids=["recorded", "compiled"])
@pytest.mark.parametrize("family", PAGED)
def test_texts_together_over_blocks(family: str, recorder: Recorder) -> None:
    """Texts of different lengths that come and go, some read in chunks beside: each gets what it gets alone."""
    model = made(family)
    engine = Engine(model, EngineSettings(rows=4, step_tokens=64, block=4, cache_tokens=480), "never")
    assert isinstance(engine.reader, PagedReader)
    pages = StaticPages(model, engine.reader.cache, engine.reader.longest, recorder)
    engine.reader.single = pages
    requests = [
        Request(tuple(ids(length, length)), Sampling(max_tokens=new, temperature=heat, seed=length))
        for length, new, heat in ((3, 30, 0.0), (150, 9, 0.7), (40, 20, 0.0), (1, 40, 1.0), (90, 3, 0.0), (2, 12, 0.0))
    ]
    numbers = [engine.add(request) for request in requests]
    found: dict[int, list[int]] = {number: [] for number in numbers}
    while engine.open:
        for number, step in engine.step():
            assert isinstance(step, Step), step
            found[number].append(step.token)
    wanted = generate(model, requests, "never")
    assert [found[number] for number in numbers] == [one.ids for one in wanted]
    assert {columns for _, columns in pages.recorded} == {8, 16, 32, 64}
    assert {texts for texts, _ in pages.recorded} <= {1, 2, 4}


@pytest.mark.gpu
@pytest.mark.parametrize("compiled", ["auto", "never"])
def test_the_engine_on_a_gpu(compiled: Compiled) -> None:
    model = made("llama").to("cuda")
    engine = Engine(model, EngineSettings(rows=4, step_tokens=64, block=4, cache_tokens=480), compiled)
    assert isinstance(engine.reader, PagedReader) and (engine.reader.single is None) == (compiled == "never")
    requests = [Request(tuple(ids(length, length)), Sampling(max_tokens=20, temperature=0)) for length in (3, 150, 40)]
    for request in requests:
        engine.add(request)
    found: dict[int, list[int]] = {}
    while engine.open:
        for number, step in engine.step():
            assert isinstance(step, Step), step
            found.setdefault(number, []).append(step.token)
    assert list(found.values()) == [one.ids for one in generate(model, requests, "never")]
