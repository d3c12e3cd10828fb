"""A table of probabilities as a model, whose every text can be listed; and tiny random models of every kind."""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor

from nextword.models.base import Batch, LanguageModel, Output
from nextword.models.create import create
from nextword.models.ngram import NGramState
from nextword.models.settings import ModelSettings

VOCABULARY = 60
SIZES = {
    "llama": ModelSettings(width=32, depth=2, heads=4, kv_heads=2, max_length=64),
    "nextword": ModelSettings(family="nextword", width=32, depth=2, heads=4, kv_heads=2, max_length=64),
    "lstm": ModelSettings(family="lstm", width=32, depth=2),
    "ngram": ModelSettings(family="ngram", order=3),
    "t5": ModelSettings(family="t5", width=32, depth=2, heads=4),
}


class Table:
    """P(next | all tokens before), from a function: a LanguageModel small enough to work out by hand."""

    kind = "decoder"
    max_length: int | None = None

    def __init__(self, vocab_size: int, distribution: Callable[[tuple[int, ...]], Sequence[float]]) -> None:
        self.vocab_size, self.distribution = vocab_size, distribution
        self.config: dict[str, Any] = {}
        self.calls: list[int] = []  # tokens of each row in each call

    def start(self, rows: int, length: int) -> NGramState:
        return NGramState(torch.empty(rows, 0, dtype=torch.int64), torch.zeros(rows, dtype=torch.int64))

    def hidden(self, batch: Batch, state: NGramState | None = None) -> Output:
        assert state is not None
        rows, time = batch.ids_BT.shape
        self.calls.append(time)
        counts = [time] * rows if batch.mask_BT is None else batch.mask_BT.sum(1).tolist()
        hidden_BTD = torch.zeros(rows, time, self.vocab_size, dtype=torch.float64)
        texts = []
        for row in range(rows):
            before = state.ids_BS[row, : int(state.lengths_B[row])].tolist()
            whole = before + batch.ids_BT[row, : counts[row]].tolist()
            for place in range(counts[row]):
                hidden_BTD[row, place] = torch.tensor(self.distribution(tuple(whole[: len(before) + place + 1])))
            texts.append(whole)
        longest = max(map(len, texts))
        ids_BS = torch.tensor([text + [0] * (longest - len(text)) for text in texts])
        return Output(hidden_BTD, NGramState(ids_BS, torch.tensor([len(text) for text in texts])))

    def logits(self, hidden_ND: Tensor) -> Tensor:
        return hidden_ND.log().float()

    def score(self, batch: Batch, labels_BT: Tensor) -> Tensor:
        raise NotImplementedError


class Ids:
    """A source of tokens in memory."""

    def __init__(self, ids: Any) -> None:
        self.ids = ids

    def __len__(self) -> int:
        return len(self.ids)

    def read(self, start: int, stop: int) -> Any:
        return self.ids[start:stop]


@cache
def make_random(kind: str, seed: int = 7) -> Any:
    """A tiny model whose every weight is drawn anew, widely, so that no two tokens are nearly equal."""
    model: Any = create(SIZES[kind], VOCABULARY, seed=0, eos_id=0)
    generator = torch.Generator().manual_seed(seed)
    if kind == "ngram":
        model.count(Ids(torch.randint(0, VOCABULARY, (3000,), generator=generator).numpy()))
        return model
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(torch.randn(weight.shape, generator=generator) * 0.3 + (weight.dim() == 1))
    return model.eval()


def loaded(theirs: Any, folder: Any) -> LanguageModel:
    """A model of transformers, its weights drawn anew, as ours."""
    from nextword.models.checkpoint import load_model

    torch.manual_seed(1)
    with torch.no_grad():
        for weight in theirs.parameters():
            weight.copy_(torch.randn_like(weight) * 0.3 + (weight.dim() == 1))
    theirs.eval().save_pretrained(folder)
    return load_model(folder)


@pytest.fixture(scope="session")
def llamas(tmp_path_factory: pytest.TempPathFactory) -> tuple[LanguageModel, Any]:
    """The same tiny Llama, ours and transformers'."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=128, eos_token_id=None, bos_token_id=None, pad_token_id=0,
    )  # fmt: skip
    theirs = LlamaForCausalLM(config)
    return loaded(theirs, tmp_path_factory.mktemp("llama")), theirs


@pytest.fixture(scope="session")
def t5s(tmp_path_factory: pytest.TempPathFactory) -> tuple[LanguageModel, Any]:
    """The same tiny T5."""
    from transformers import T5Config, T5ForConditionalGeneration

    config = T5Config(
        vocab_size=VOCABULARY, d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4, decoder_start_token_id=0,
        feed_forward_proj="gated-gelu", tie_word_embeddings=False,
    )  # fmt: skip
    theirs = T5ForConditionalGeneration(config)
    return loaded(theirs, tmp_path_factory.mktemp("t5")), theirs


@pytest.fixture(scope="session")
def random_model() -> Callable[..., Any]:
    """`random_model(kind, seed)` is a tiny random model of that kind."""
    return make_random


@pytest.fixture(scope="session")
def table() -> type[Table]:
    """`table(vocab_size, distribution)` is a model that a function describes."""
    return Table


class Letters:
    """A tokenizer: token i is the i-th letter."""

    def decoder(self) -> "Letters":
        return self

    def push(self, number: int) -> str:
        return chr(ord("A") + number)

    def flush(self) -> str:
        return ""


@pytest.fixture(scope="session")
def alphabet() -> Letters:
    return Letters()
