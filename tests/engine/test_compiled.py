"""The compiled step of decoders equals the plain one; its machine code lies in a private folder.

All tests that compile are in this file: the variants (bf16, fp32, int8, int4) are compiled once, or taken from disk.
"""

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch.utils.hooks import RemovableHandle

import nextword as nw
from nextword.core.errors import SettingsError
from nextword.decode.row import Step
from nextword.decode.settings import SamplingSettings as Sampling
from nextword.decode.strategy_settings import StrategySettings as Strategy
from nextword.engine.compiled import CHUNK_TOKENS, MOST_TOKENS, CompiledSteps
from nextword.engine.engine import Engine
from nextword.engine.generate import generate
from nextword.engine.plans import decoder
from nextword.engine.plans.decoder import fits, plan
from nextword.engine.reading import PagedReader
from nextword.engine.request import Request
from nextword.engine.settings import EngineSettings
from nextword.engine.step import PlainSteps
from nextword.models.create import create, drawn
from nextword.models.settings import ModelSettings
from nextword.models.transformer import Transformer
from nextword.nn import half
from nextword.nn.kernels import disk
from nextword.nn.kernels.decoder_step import decode
from nextword.quant.linear import QuantisedLinear
from nextword.quant.model import PLAIN, Quantisation, quantise
from nextword.verify.equalities.quantised import rounded

SHAPES = {
    "grouped": ModelSettings(width=48, depth=3, heads=6, kv_heads=2, head_width=10, ffn_width=68, max_length=96),
    "plain": ModelSettings(width=32, depth=2, heads=4, tied=False, max_length=96, rope_base=500.0, norm_eps=1e-3),
    "one head": ModelSettings(width=16, depth=1, heads=1, ffn_width=5, max_length=96),
}
ROUNDING = {
    torch.float32: 1e-4,
    torch.bfloat16: 0.06,
}  # of the largest logit; bf16 has 8 bits, the plain step rounds all


def random_llama(shape: str, dtype: torch.dtype) -> Transformer:
    model = create(SHAPES[shape], 83, seed=0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(torch.randn(weight.shape, generator=generator) * 0.15 + (weight.dim() == 1))
    return model.to(dtype).eval()


@pytest.mark.parametrize("dtype", list(ROUNDING))
@pytest.mark.parametrize("shape", sorted(SHAPES))
def test_equals_the_plain_step(shape: str, dtype: torch.dtype) -> None:
    model = random_llama(shape, dtype)
    compiled, plain = CompiledSteps(model), PlainSteps(model.float() if dtype == torch.float32 else model)
    prompts = [[5, 6, 7], [1], [80, 3, 2, 9, 4, 4, 4]]
    (a_BV, a), (b_BV, b) = compiled.prefill(prompts, 4), plain.prefill(prompts, 4)  # too short: the cache must grow
    for ids in ([3, 4, 5], [8, 8, 8], [1, 0, 82], [2, 2, 3]):
        limit = ROUNDING[dtype] * b_BV.abs().max()
        assert (a_BV - b_BV).abs().max() <= limit
        (a_BV, a), (b_BV, b) = compiled.step(ids, a), plain.step(ids, b)
        assert a.lengths == b.lengths
    kept = torch.tensor([2, 0])
    (a_BV, a), (b_BV, b) = compiled.step([7, 9], a.select(kept)), plain.step([7, 9], b.select(kept))
    assert (a_BV - b_BV).abs().max() <= ROUNDING[dtype] * b_BV.abs().max()


FAMILIES = {
    "gpt2": {},
    "opt": {},
    "mistral": {"kv_heads": 2},
    "qwen2": {"kv_heads": 2},
    "qwen3": {"kv_heads": 2, "head_width": 16},
    "gemma": {"kv_heads": 2, "head_width": 16},
    "phi3": {},
    "olmo": {},
}


def randomised(model: Transformer) -> Transformer:
    """Every tensor drawn anew; a little is added to norms, which begin as ones or zeros."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn(weight.shape, generator=generator) * (0.1 if weight.dim() == 1 else 0.15))
    return model.eval()


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_other_families_equal_their_plain_step(family: str) -> None:
    sizes = {"width": 64, "depth": 2, "heads": 4, "max_length": 96}
    model = randomised(create(ModelSettings(family=family, **sizes, **FAMILIES[family]), 83, seed=0))
    assert fits(model)
    compiled, plain = CompiledSteps(model), PlainSteps(model)
    (a_BV, a), (b_BV, b) = compiled.prefill([[5, 6, 7], [1]], 9), plain.prefill([[5, 6, 7], [1]], 9)
    for ids in ([3, 4], [8, 80]):
        assert (a_BV - b_BV).abs().max() <= 1e-4 * b_BV.abs().max()
        (a_BV, a), (b_BV, b) = compiled.step(ids, a), plain.step(ids, b)
    assert (a_BV - b_BV).abs().max() <= 1e-4 * b_BV.abs().max()


def test_layers_may_differ_in_scale() -> None:
    """GPT-2 with scores scaled by the layer's number."""
    config = create(ModelSettings(family="gpt2", width=32, depth=3, heads=2, max_length=64), 50, seed=0).config
    model = randomised(drawn({**config, "scale_attn_by_inverse_layer_idx": True}, 0))
    (found_BV, _), (wanted_BV, _) = (one.prefill([[5, 6, 7]], 9) for one in (CompiledSteps(model), PlainSteps(model)))
    assert (found_BV - wanted_BV).abs().max() <= 1e-4 * wanted_BV.abs().max()


@pytest.mark.parametrize("family", ["mixed windows", "parallel", "capped"])
def test_what_the_kernel_lacks_takes_the_plain_step(family: str) -> None:
    name = {"mixed windows": "gemma3_text", "parallel": "gpt_neox", "capped": "gemma2"}[family]
    assert not fits(create(ModelSettings(family=name, width=32, depth=2, heads=2), 83, seed=0))


def rounding_inputs(model: Transformer) -> list[RemovableHandle]:
    """Makes the plain step round inputs as the compiled one does."""
    layers = [layer for layer in model.modules() if isinstance(layer, QuantisedLinear)]
    return [layer.register_forward_pre_hook(lambda layer, given: (rounded(given[0]),)) for layer in layers]


@pytest.mark.parametrize("family", ["llama", "gpt2"])
@pytest.mark.parametrize("kind", [Quantisation(8), Quantisation(4, 32), Quantisation(4, 128)], ids=str)
def test_quantised_equals_the_plain_step_of_rounded_inputs(kind: Quantisation, family: str) -> None:
    sizes = {"width": 96, "depth": 2, "heads": 4, "max_length": 96, "tied": False}
    model = randomised(create(ModelSettings(family=family, **sizes), 83, seed=0))
    list(quantise(model, kind))
    assert fits(model)
    compiled, plain = CompiledSteps(model), PlainSteps(model)
    rows = [[5, 6, 7], [1], [9, 8], [7], [3, 3]]  # five: four share a pass, one is alone
    (whole_BV, _) = plain.prefill(rows, 9)
    hooks = rounding_inputs(model)
    (a_BV, a), (b_BV, b) = compiled.prefill(rows, 9), plain.prefill(rows, 9)
    rounding = (b_BV - whole_BV).norm() / b_BV.norm()  # of inputs; all of it the compiled step must have, too
    assert (a_BV - b_BV).norm() <= 0.5 * rounding * b_BV.norm()  # the head's input is rounded there, and not here
    (a_BV, a), (b_BV, b) = compiled.step([3, 4, 5, 6, 7], a), plain.step([3, 4, 5, 6, 7], b)
    assert (a_BV - b_BV).norm() <= rounding * b_BV.norm() and rounding < 0.05
    for hook in hooks:
        hook.remove()


def test_quantised_edges_left_whole_and_long_prompts() -> None:
    """However many tokens are read at once, inputs are rounded alike: the logits are the same to the last bit."""
    model = randomised(create(ModelSettings(width=64, depth=2, heads=4, max_length=96), 83, seed=0))
    list(quantise(model, Quantisation(8, edges=PLAIN)))
    compiled, plain = CompiledSteps(model), PlainSteps(model)
    row = list(range(CHUNK_TOKENS + 9))
    (a_BV, a), (b_BV, _) = compiled.prefill([row], 80), plain.prefill([row], 80)
    assert 0 < (a_BV - b_BV).norm() < 0.05 * b_BV.norm()
    (_, b), step_BV = compiled.prefill([row[:3]], 80), None
    for number in row[3:6]:
        step_BV, b = compiled.step([number], b)
    rest_NV, b = compiled.extend([row[6:]], b)
    assert torch.equal(rest_NV[-1:], a_BV) and a.lengths == b.lengths
    assert torch.equal(compiled.prefill([row[:6], row[:40]], 80)[0][:1], step_BV)


def together_as_alone(model: Transformer, settings: EngineSettings, requests: list[Request]) -> Engine:
    """Checks that all requests get from the engine what they get alone: tokens and scores, not a bit apart."""
    engine = Engine(model, settings, "always")
    assert isinstance(engine.reader, PagedReader)
    numbers = [engine.add(request) for request in requests]
    found: dict[int, list[Step]] = {number: [] for number in numbers}
    while engine.open:
        for number, step in engine.step():
            assert isinstance(step, Step)
            found[number].append(step)
    for number, request in zip(numbers, requests, strict=True):
        [alone] = generate(model, [request], "always")
        assert [step.token for step in found[number]] == alone.ids
        assert [step.logprob for step in found[number]] == alone.logprobs
    return engine


@pytest.mark.parametrize("family", ["llama", "gpt2"])
@pytest.mark.parametrize("kind", [Quantisation(8), Quantisation(4, 32), Quantisation(4, 64)], ids=str)
def test_quantised_texts_are_read_together_and_get_exactly_what_they_get_alone(kind: Quantisation, family: str) -> None:
    sizes = {"width": 96, "ffn_width": 250, "depth": 2, "heads": 4, "max_length": 96}
    model = randomised(create(ModelSettings(family=family, **sizes), 83, seed=0))
    list(quantise(model, kind))
    prompts = [tuple((i * j) % 80 for j in range(1, length)) for i, length in enumerate((4, 71, 9, 2, 30, 12), 3)]
    requests = [Request(ids, Sampling(temperature=0, max_tokens=20)) for ids in prompts]
    engine = together_as_alone(model, EngineSettings(rows=8, step_tokens=20, block=4, cache_tokens=160), requests)
    assert engine.scheduler.preempted > 0
    together_as_alone(model, EngineSettings(step_tokens=3 * CHUNK_TOKENS), requests)


def test_a_quantised_model_that_computes_in_bf16_is_read_together_too() -> None:
    model = randomised(create(ModelSettings(width=64, depth=2, heads=4, max_length=96), 83, seed=0))
    list(quantise(model, Quantisation(8)))
    requests = [Request((7, i), Sampling(temperature=0, max_tokens=5)) for i in range(3)]
    together_as_alone(model.bfloat16(), EngineSettings(cache_tokens=64), requests)


def test_bf16_is_nearer_to_exact_sums_than_the_plain_step() -> None:
    """The kernel rounds weights and cache only; so it must be close to fp32 mathematics on the rounded weights."""
    model = random_llama("grouped", torch.bfloat16)
    exact_BV, _ = PlainSteps(random_llama("grouped", torch.bfloat16).float()).prefill([[5, 6, 7, 8]], 8)
    found_BV, _ = CompiledSteps(model).prefill([[5, 6, 7, 8]], 8)
    assert (found_BV - exact_BV).abs().max() <= 0.02 * exact_BV.abs().max()


@pytest.mark.parametrize("shape", ["grouped", "plain"])
def test_matrices_that_stay_bf16_are_read_where_they_lie(shape: str) -> None:
    model = random_llama(shape, torch.bfloat16)
    half.keep(model, torch.float32)
    steps, plain = CompiledSteps(model), PlainSteps(model)
    assert steps.types == (torch.bfloat16, torch.bfloat16) and steps.fast_products
    for layer in (model.blocks[0].attention.query, model.blocks[-1].feedforward.down, model.embedding):
        assert steps.places(layer, torch.bfloat16)[0] == layer.weight.data_ptr()
    (found_BV, a), (wanted_BV, b) = (one.prefill([[5, 6, 7]], 9) for one in (steps, plain))
    assert (found_BV - wanted_BV).abs().max() <= 1e-4 * wanted_BV.abs().max()
    (found_BV, _), (wanted_BV, _) = steps.step([3], a), plain.step([3], b)
    assert (found_BV - wanted_BV).abs().max() <= 1e-4 * wanted_BV.abs().max()


def test_a_short_text_of_matrices_that_stay_bf16_is_read_plainly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plain steps in bf16 are not to be waited for where its products are emulated; these are in fp32."""
    monkeypatch.setattr(decoder, "fast_bfloat16", lambda: False)
    model = random_llama("plain", torch.bfloat16)
    assert plan(model, 1, "auto") is not None
    half.keep(model, torch.float32)
    assert plan(model, 1, "auto") is None and plan(model, 10**9, "auto") is not None


def test_fp32_weights_that_are_bf16_numbers_are_read_as_bf16() -> None:
    widened = random_llama("grouped", torch.bfloat16).float()
    steps = CompiledSteps(widened)
    assert steps.types == (torch.bfloat16, torch.bfloat16)
    (a_BV, a), (b_BV, b) = steps.prefill([[5, 6, 7, 8]], 8), PlainSteps(widened).prefill([[5, 6, 7, 8]], 8)
    for _ in range(2):
        assert (a_BV - b_BV).abs().max() <= 1e-4 * b_BV.abs().max()
        (a_BV, a), (b_BV, b) = steps.step([3], a), PlainSteps(widened).step([3], b)
    assert CompiledSteps(random_llama("grouped", torch.float32)).types == (torch.float32, torch.float32)


def test_long_prompts_in_chunks() -> None:
    model = random_llama("plain", torch.float32)
    steps = CompiledSteps(model)
    steps.fast_products = False  # as with bf16 on a processor that cannot multiply it
    rows = [list(range(70)), [1, 2, 3], list(range(61)), [9]]
    (a_BV, a), (b_BV, b) = steps.prefill(rows, 90), PlainSteps(model).prefill(rows, 90)
    assert (a_BV - b_BV).abs().max() <= 1e-4 * b_BV.abs().max()
    (a_BV, _), (b_BV, _) = steps.step([1, 2, 3, 4], a), PlainSteps(model).step([1, 2, 3, 4], b)
    assert (a_BV - b_BV).abs().max() <= 1e-4 * b_BV.abs().max()


def test_long_prompts_and_large_batches_take_the_plain_step() -> None:
    model = random_llama("plain", torch.float32)
    rows = [Request((7, i), Sampling(max_tokens=4, temperature=0)) for i in range(MOST_TOKENS)]
    rows.append(Request(tuple(range(MOST_TOKENS + 5)), Sampling(max_tokens=9, temperature=0)))
    always, never = generate(model, rows, "always"), generate(model, rows, "never")
    assert [g.ids for g in always] == [g.ids for g in never]


@pytest.mark.parametrize("dtype", list(ROUNDING))
def test_several_tokens_of_each_row_at_once_and_taken_back(dtype: torch.dtype) -> None:
    model = random_llama("grouped", dtype)
    compiled, plain = CompiledSteps(model), PlainSteps(model)
    (_, a), (_, b) = compiled.prefill([[5, 6, 7], [1]], 4), plain.prefill([[5, 6, 7], [1]], 4)
    for rows, kept in (([[3, 4, 5], [8]], [5, 2]), ([[2], [7, 7, 7, 1]], [6, 4]), ([[9] * 40, [1]], [46, 5])):
        (a_NV, a), (b_NV, b) = compiled.extend(rows, a), plain.extend(rows, b)
        assert a_NV.shape == (sum(map(len, rows)), model.vocab_size)
        assert (a_NV - b_NV).abs().max() <= ROUNDING[dtype] * b_NV.abs().max()
        a, b = a.crop(torch.tensor(kept)), b.crop(torch.tensor(kept))
    (a_BV, _), (b_BV, _) = compiled.step([3, 4], a), plain.step([3, 4], b)
    assert (a_BV - b_BV).abs().max() <= ROUNDING[dtype] * b_BV.abs().max()


def test_bf16_texts_together_and_long_prompts_beside_them() -> None:
    """The cache is fp32 there, whatever the type of the products."""
    model = random_llama("grouped", torch.bfloat16)
    engine = Engine(model, EngineSettings(rows=4, step_tokens=64, block=4, cache_tokens=400), "always")
    assert isinstance(engine.reader, PagedReader) and engine.reader.whole is not None
    prompts = [(1, 2, 3), tuple(range(70)), tuple(range(5, 45)), (9,)]
    numbers = {engine.add(Request(prompt, Sampling(max_tokens=6, temperature=0))): prompt for prompt in prompts}
    exact = PlainSteps(random_llama("grouped", torch.bfloat16).float())
    while engine.open:
        for number, step in engine.step():
            assert isinstance(step, Step), step
            numbers[number], before = (*numbers[number], step.token), numbers[number]
            logits_1V, _ = exact.prefill([before], len(before))
            assert logits_1V[0, step.token] >= logits_1V.max() - ROUNDING[torch.bfloat16] * logits_1V.abs().max()


@pytest.mark.parametrize("strategy", ["beam", "lookup"])
def test_strategies_give_the_same_texts(strategy: str) -> None:
    model, temperature = random_llama("grouped", torch.float32), 1.0 if strategy == "beam" else 0.0
    settings = Sampling(max_tokens=50, temperature=temperature)
    requests = [Request(prompt, settings, strategy=Strategy(strategy=strategy)) for prompt in ((1, 2, 3, 1, 2), (9,))]
    assert [g.ids for g in generate(model, requests, "always")] == [g.ids for g in generate(model, requests, "never")]


def test_generated_text_is_the_same() -> None:
    model = random_llama("grouped", torch.float32)
    requests = [Request((1, 2, 3), Sampling(max_tokens=50, temperature=t, seed=5)) for t in (0, 0.7, 1.3)]
    assert [g.ids for g in generate(model, requests, "always")] == [g.ids for g in generate(model, requests, "never")]


def test_what_does_not_fit_takes_the_plain_step() -> None:
    half = random_llama("plain", torch.float16)
    assert not fits(half)
    with pytest.raises(SettingsError, match="no compiled step fits"):
        generate(half, [Request((1,), Sampling(max_tokens=2))], "always")
    with pytest.raises(SettingsError, match="auto, always or never"):
        generate(half, [Request((1,), Sampling(max_tokens=2))], "sometimes")
    mixed = random_llama("plain", torch.float32)
    mixed.blocks[0].attention.query.weight.data = mixed.blocks[0].attention.query.weight.data.bfloat16()
    assert not fits(mixed)


def test_a_kept_plan_follows_the_weights(tiny: Callable[[str], Path]) -> None:
    lm = nw.load(tiny("llama"))
    before = lm.generate("The", max_tokens=20, temperature=0, compiled="always")
    plan_before = lm._plan
    assert before == lm.generate("The", max_tokens=20, temperature=0, compiled="never")
    assert lm.generate("The", max_tokens=20, temperature=0) == before
    assert lm._plan is plan_before
    with torch.no_grad():
        for weight in lm.model.parameters():
            weight.mul_(1.5)
    after = lm.generate("The", max_tokens=20, temperature=0, compiled="always")
    assert after == lm.generate("The", max_tokens=20, temperature=0, compiled="never") != before


def test_auto_compiles_only_where_it_pays() -> None:
    small = random_llama("plain", torch.float32)
    assert plan(small, 10, "auto") is None
    assert isinstance(plan(small, 10**7, "auto"), CompiledSteps)


def test_the_folder_is_the_users_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    place = disk.folder()
    assert place.parent == tmp_path / "nextword"
    assert disk.private(place)
    assert stat.S_IMODE(place.stat().st_mode) == 0o700
    assert not disk.compiled(decode, "bf16")
    disk.mark(decode, "bf16")
    assert disk.compiled(decode, "bf16")
    assert not disk.compiled(decode, "fp32")
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "given"))
    assert disk.folder() == tmp_path / "given" / place.name  # apart from other versions there, too
    assert not disk.compiled(decode, "bf16")


@pytest.mark.skipif(os.name == "nt", reason="Windows has other rights")
def test_a_folder_that_others_may_write_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    assert not disk.private(tmp_path / "open")
    assert not disk.private(tmp_path / "open" / "own")  # they may put another in its place
    (tmp_path / "open").chmod(0o1777)
    assert disk.private(tmp_path / "open" / "own")  # as in /tmp: its owner alone may
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert not disk.private(tmp_path / "link")
    (tmp_path / "file").write_text("")
    assert not disk.private(tmp_path / "file" / "below")
