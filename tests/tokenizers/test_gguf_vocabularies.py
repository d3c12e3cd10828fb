"""Vocabularies of GGUF: the ids of llama.cpp's own cases, written and read again, and broken ones refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nextword.core.errors import DataError
from nextword.models.gguf import container
from nextword.tokenizers import gguf
from nextword.tokenizers.settings import TokenizerSettings
from nextword.tokenizers.train import train

VOCABULARIES = ["ggml-vocab-gpt-2", "ggml-vocab-llama-spm", "ggml-vocab-bert-bge"]
TEXTS = ["", " ", "Hello  world", "naïve 🦙\n\n\tx=1234567", "\u0000\uffff<|endoftext|>", "I'll   go"]


def cases(folder: Path, name: str) -> list[tuple[str, list[int]]]:
    texts = (folder / f"{name}.gguf.inp").read_text().split("\n__ggml_vocab_test__\n")
    ids = [[int(number) for number in line.split()] for line in (folder / f"{name}.gguf.out").read_text().split("\n")]
    return list(zip(texts, ids, strict=False))


@pytest.mark.parametrize("name", VOCABULARIES)
def test_the_ids_are_those_of_llama_cpp(name: str, realdata: Path) -> None:
    folder = realdata / "tokenizers"
    tokenizer = gguf.read(container.read(folder / f"{name}.gguf").values, name)
    found = cases(folder, name)
    assert len(found) > 40
    for text, ids in found:
        assert tokenizer.encode(text) == ids, text


@pytest.mark.parametrize("name", VOCABULARIES[:2])
def test_a_written_vocabulary_gives_the_same_ids(name: str, realdata: Path, tmp_path: Path) -> None:
    folder = realdata / "tokenizers"
    values = container.read(folder / f"{name}.gguf").values
    first = gguf.read(values, name)
    container.write(tmp_path / "v.gguf", gguf.write(first, first.vocab_size), [])
    again_values = container.read(tmp_path / "v.gguf").values
    again = gguf.read(again_values, "v.gguf")
    assert again_values["tokenizer.ggml.tokens"] == values["tokenizer.ggml.tokens"]
    for text, ids in [*cases(folder, name), *((text, first.encode(text)) for text in TEXTS)]:
        assert again.encode(text) == ids
        if first.lossless:
            assert again.decode(ids) == text
    assert (again.bos_id, again.eos_id, again.unk_id) == (first.bos_id, first.eos_id, first.unk_id)


TEXT = ["Once upon a time there was a cat.", "The cat sat on the mat, and the dog sat too.", "I'll go"]


def ours() -> Any:
    return train(TokenizerSettings(vocab_size=280, min_frequency=1), iter(TEXT))


def test_a_tokenizer_of_ours_and_spare_ids() -> None:
    tokenizer = ours()
    values = gguf.write(tokenizer, 310)
    assert len(values["tokenizer.ggml.tokens"]) == 310 and values["tokenizer.ggml.tokens"][309] == "[PAD309]"
    assert values["tokenizer.ggml.token_type"][309] == gguf.UNUSED
    again = gguf.read(values, "here")
    for text in TEXTS:
        assert again.encode(text) == tokenizer.encode(text) and again.decode(again.encode(text)) == text
    assert again.eos_id == tokenizer.eos_id and again.specials == tokenizer.specials


def test_what_cannot_be_said_is_refused() -> None:
    for kind in ("character", "word"):
        tokenizer = train(TokenizerSettings(kind=kind), iter(TEXT))
        with pytest.raises(DataError, match=r"not written to GGUF|GGUF has no name"):
            gguf.write(tokenizer, tokenizer.vocab_size)


K = "tokenizer.ggml."
LLAMA = {K + "model": "llama", K + "tokens": ["<unk>", "a", "b" * 2000], K + "token_type": np.ones(3, np.int32)}
BROKEN: dict[str, tuple[dict[str, Any], str]] = {
    "kind": ({K + "model": "t5"}, "kind 't5'"),
    "no tokens": ({K + "tokens": None}, "lacks tokenizer.ggml.tokens"),
    "numbers for tokens": ({K + "tokens": np.zeros(3)}, "lacks tokenizer.ggml.tokens"),
    "twice": ({K + "tokens": ["a", "b", "a"], K + "token_type": np.ones(3, np.int32)}, "'a' twice"),
    "types": ({K + "token_type": np.zeros(2, np.int32)}, "a number for each of 280 tokens"),
    "pre": ({K + "pre": "nobody"}, "pre 'nobody'"),
    "a huge piece": (LLAMA, "more than 1000 characters"),
    "scores": (LLAMA | {K + "scores": np.array([0, np.nan, 0], np.float32)}, "a number for each of 3 tokens"),
    "merges": ({K + "merges": ["ab"]}, "two tokens"),
    "merges of nothing": ({K + "merges": ["xyz zyx"]}, "cannot be used"),
    "no merges": ({K + "merges": None}, "lacks tokenizer.ggml.merges"),
    "eos": ({K + "eos_token_id": 5000}, "is no id"),
    "eos of a kind": ({K + "eos_token_id": "x"}, "is no id"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_vocabulary_is_one_clear_error(case: str) -> None:
    change, message = BROKEN[case]
    with pytest.raises(DataError, match=message):
        gguf.read(gguf.write(ours(), 280) | change, "here")
