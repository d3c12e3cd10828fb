"""The generation loop: equal to transformers, alone as in a batch, cached as not, for every kind of model."""

import time

import numpy as np
import pytest
import torch
from torch import Tensor

from nextword.core.errors import CheckpointError, SettingsError
from nextword.decode.settings import SamplingSettings as Sampling
from nextword.engine.generate import BATCH_ROWS, generate, stream
from nextword.engine.request import Generation, Request
from nextword.models.base import Batch, LanguageModel
from nextword.models.create import create
from nextword.models.settings import ModelSettings

VOCABULARY = 60
SIZES = {
    "llama": ModelSettings(width=32, depth=2, heads=4, kv_heads=2, max_length=64),
    "nextword": ModelSettings(family="nextword", width=32, depth=2, heads=4, kv_heads=2, max_length=64),
    "lstm": ModelSettings(family="lstm", width=32, depth=2),
    "ngram": ModelSettings(family="ngram", order=3),
}
PROMPTS = [(3, 1, 4, 1, 5, 9, 2, 6), (2, 7), (1,), tuple(range(5, 40))]


class Ids:
    """A source of tokens in memory."""

    def __init__(self, ids: np.ndarray) -> None:
        self.ids = ids

    def __len__(self) -> int:
        return len(self.ids)

    def read(self, start: int, stop: int) -> np.ndarray:
        return self.ids[start:stop]


def random_model(kind: str) -> LanguageModel:
    """A tiny model whose every weight is drawn anew, widely, so that no two tokens are nearly equal."""
    model = create(SIZES[kind], VOCABULARY, seed=0, eos_id=0)
    generator = torch.Generator().manual_seed(7)
    if kind == "ngram":
        model.count(Ids(torch.randint(0, VOCABULARY, (3000,), generator=generator).numpy()))
        return model
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(torch.randn(weight.shape, generator=generator) * 0.3 + (weight.dim() == 1))
    return model.eval()


@pytest.fixture(scope="module", params=sorted(SIZES))
def model(request: pytest.FixtureRequest) -> LanguageModel:
    return random_model(request.param)


def without_cache(model: LanguageModel, prompt: tuple[int, ...], count: int) -> list[int]:
    """Greedy by reading the whole text anew for every token."""
    ids = list(prompt)
    for _ in range(count):
        with torch.no_grad():
            hidden_BTD = model.hidden(Batch(torch.tensor([ids]))).hidden_BTD
            ids.append(int(model.logits(hidden_BTD[:, -1]).argmax()))
    return ids[len(prompt) :]


def test_cached_equals_uncached(model: LanguageModel) -> None:
    for prompt in PROMPTS:
        [found] = generate(model, [Request(prompt, Sampling(temperature=0, max_tokens=15))])
        assert found.ids == without_cache(model, prompt, 15)


def test_batched_with_padding_equals_single(model: LanguageModel) -> None:
    rows = [Sampling(temperature=t, max_tokens=n, seed=n) for t, n in ((0, 12), (1.0, 7), (0.8, 20), (1.2, 3))]
    requests = [Request(prompt, row) for prompt, row in zip(PROMPTS, rows, strict=True)]
    together = generate(model, requests)
    alone = [generate(model, [request])[0] for request in requests]
    assert [g.ids for g in together] == [g.ids for g in alone]
    assert [len(g.ids) for g in together] == [12, 7, 20, 3]
    for a, b in zip(together, alone, strict=True):
        assert torch.allclose(torch.tensor(a.logprobs), torch.tensor(b.logprobs), atol=1e-4)


def test_more_prompts_than_rows_of_a_batch(model: LanguageModel) -> None:
    requests = [Request((i % VOCABULARY,), Sampling(max_tokens=2, seed=i)) for i in range(2 * BATCH_ROWS + 3)]
    found = generate(model, requests)
    assert [g.prompt_ids for g in found] == [r.ids for r in requests]
    assert found[-1].ids == generate(model, requests[-1:])[0].ids


def test_seeds(model: LanguageModel) -> None:
    def ids(seed: int | None) -> list[int]:
        return generate(model, [Request((1, 2), Sampling(seed=seed, max_tokens=30))])[0].ids

    assert ids(1) == ids(1)
    assert ids(1) != ids(2)
    [drawn] = generate(model, [Request((1, 2), Sampling(max_tokens=30))])
    assert ids(drawn.seed) == drawn.ids  # the seed that was drawn gives the text again


def test_logprobs_are_the_models_own(model: LanguageModel) -> None:
    [found] = generate(model, [Request((1, 2, 3), Sampling(temperature=0.3, top_k=5, max_tokens=6, seed=0))])
    ids = torch.tensor([[1, 2, 3, *found.ids]])
    labels = torch.tensor([[-100, -100, *found.ids, -100]])
    with torch.no_grad():
        expected = model.score(Batch(ids), labels)[0, 2:-1]
    assert torch.allclose(torch.tensor(found.logprobs), expected, atol=1e-4)


def test_an_end_token_ends_a_row_and_the_others_go_on(model: LanguageModel) -> None:
    [whole] = generate(model, [Request((3, 1), Sampling(temperature=0, max_tokens=12))])
    last = whole.ids[4]
    first = whole.ids.index(last)
    ending = Request((3, 1), Sampling(temperature=0, max_tokens=12), frozenset({last}))
    going = Request(PROMPTS[0], Sampling(temperature=0, max_tokens=12))
    ended, other = generate(model, [ending, going])
    assert (ended.ids, ended.reason) == (whole.ids[:first], "eos")
    assert (other.ids, other.reason) == (generate(model, [going])[0].ids, "length")


def test_greedy_equals_transformers() -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    from nextword.models.checkpoint import load_model

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=128, eos_token_id=None, bos_token_id=None, pad_token_id=0,
    )  # fmt: skip
    theirs = LlamaForCausalLM(config).eval()
    with torch.no_grad():
        for weight in theirs.parameters():
            weight.copy_(torch.randn_like(weight) * 0.3 + (weight.dim() == 1))
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        theirs.save_pretrained(folder)
        ours = load_model(folder)
    found = generate(ours, [Request(prompt, Sampling(temperature=0, max_tokens=40)) for prompt in PROMPTS])
    for prompt, generation in zip(PROMPTS, found, strict=True):
        expected = theirs.generate(torch.tensor([prompt]), max_new_tokens=40, do_sample=False)
        assert generation.ids == expected[0, len(prompt) :].tolist()


class Letters:
    """A tokenizer for tests: token i is the i-th letter."""

    def decoder(self) -> "Letters":
        return self

    def push(self, number: int) -> str:
        return chr(ord("A") + number)

    def flush(self) -> str:
        return ""


def test_a_stop_text_across_tokens_ends_the_row(model: LanguageModel) -> None:
    settings = Sampling(temperature=1.0, max_tokens=25, seed=4)
    [whole] = generate(model, [Request((3,), settings, tokenizer=Letters())])
    assert whole.text == "".join(chr(ord("A") + i) for i in whole.ids)
    stop = whole.text[10:13]
    [cut] = generate(model, [Request((3,), Sampling(max_tokens=25, seed=4, stop=(stop,)), tokenizer=Letters())])
    assert (cut.text, cut.reason) == (whole.text[: whole.text.index(stop)], "stop")


def test_stream_yields_tokens_as_they_come(model: LanguageModel) -> None:
    results: list[Generation] = []
    request = Request((3,), Sampling(max_tokens=5, seed=4), tokenizer=Letters())
    steps = stream(model, [request], results)
    first = next(steps)
    assert results[0].ids == [first.token]
    assert results[0].text == first.text != ""
    rest = list(steps)
    assert [first.stop, *(s.stop for s in rest)] == [None, None, None, None, "length"]
    assert first.text + "".join(s.text for s in rest) == results[0].text == generate(model, [request])[0].text


def test_figures(model: LanguageModel) -> None:
    began = time.perf_counter()
    [found] = generate(model, [Request((3,), Sampling(max_tokens=10, seed=4))])
    seconds = time.perf_counter() - began
    assert 0 < found.seconds_to_first < seconds
    assert found.tokens_per_second >= 9 / seconds


def test_a_context_that_is_too_long_is_refused() -> None:
    llama = random_model("llama")
    with pytest.raises(SettingsError, match=r"prompt \(3 tokens\) and max_tokens \(62\) exceed .* \(64\).* at most 61"):
        generate(llama, [Request((1, 2, 3), Sampling(max_tokens=62))])
    with pytest.raises(SettingsError, match="prompt has 64 tokens, the model reads at most 64"):
        generate(llama, [Request((1,) * 64)])
    [found] = generate(llama, [Request((1, 2, 3))])  # without a limit of its own: what the context leaves
    assert len(found.ids) == 61


def test_bad_prompts_are_refused(model: LanguageModel) -> None:
    with pytest.raises(SettingsError, match="prompt is empty"):
        Request(())
    with pytest.raises(SettingsError, match="token 60 is not in the model's vocabulary of 60"):
        generate(model, [Request((1, 60))])
    with pytest.raises(SettingsError, match="stop texts need a tokenizer"):
        Request((1,), Sampling(stop=("x",)))


@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
def test_scores_that_are_no_numbers_are_an_error(broken: float) -> None:
    llama = random_model("llama")
    with torch.no_grad():
        llama.norm.weight[3] = broken
    with pytest.raises(CheckpointError, match="not finite"):
        generate(llama, [Request((1, 2), Sampling(max_tokens=3))])


def test_nothing_but_the_generator_decides(model: LanguageModel) -> None:
    """The global generator is neither read nor moved."""
    torch.manual_seed(0)
    before: Tensor = torch.get_rng_state()
    first = generate(model, [Request((1, 2), Sampling(max_tokens=8, seed=3))])[0].ids
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(99)
    assert generate(model, [Request((1, 2), Sampling(max_tokens=8, seed=3))])[0].ids == first
