"""A folder or hub id becomes a model with its tokenizer; what does not belong together is refused."""

import sys
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import tokenizers
import torch
from huggingface_hub.errors import LocalEntryNotFoundError
from huggingface_hub.utils import filter_repo_objects

from nextword.assembly import folder as assembly
from nextword.core.errors import CheckpointError, NextwordError
from nextword.models.checkpoint import save_model
from nextword.models.create import create
from nextword.models.settings import ModelSettings
from nextword.tokenizers.base import Tokenizer


def tokenizer_of(size: int) -> Tokenizer:
    vocabulary = {"<|endoftext|>": 0, **{chr(96 + n): n for n in range(1, size)}}
    inner = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="<|endoftext|>"))
    inner.add_special_tokens(["<|endoftext|>"])
    return Tokenizer(inner, "word", False, {"bos": 0, "eos": 0})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small model with room for ten tokens, and a tokenizer of eight."""
    save_model(create(ModelSettings(width=16, depth=1, heads=2), 10, seed=0, eos_id=0), tmp_path)
    tokenizer_of(8).save(tmp_path)
    return tmp_path


def test_a_folder(folder: Path) -> None:
    found = assembly.load(str(folder))
    assert (found.folder, found.model.vocab_size, found.tokenizer.vocab_size) == (folder, 10, 8)


def test_a_tokenizer_with_more_tokens_than_the_model_is_refused(folder: Path) -> None:
    tokenizer_of(11).save(folder)
    with pytest.raises(CheckpointError, match="the tokenizer has 11 tokens, the model only 10"):
        assembly.load(folder)


def test_a_folder_without_a_tokenizer_is_refused(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    with pytest.raises(NextwordError, match=r"tokenizer\.json"):
        assembly.load(folder)


@pytest.mark.parametrize(
    ("stored", "fast", "wanted"),
    [
        (torch.bfloat16, False, torch.float32),
        (torch.bfloat16, True, torch.bfloat16),
        (torch.float16, True, torch.float32),
        (torch.float32, True, torch.float32),
    ],
)
def test_computes_in_what_the_processor_is_fast_in(
    folder: Path, monkeypatch: pytest.MonkeyPatch, stored: torch.dtype, fast: bool, wanted: torch.dtype
) -> None:
    save_model(create(ModelSettings(width=16, depth=1, heads=2), 10, seed=0, eos_id=0).to(stored), folder)
    monkeypatch.setattr(assembly, "fast_bfloat16", lambda: fast)
    assert assembly.load(folder).model.embedding.like.dtype == wanted
    assert next(assembly.load(folder, torch.float16).model.parameters()).dtype == torch.float16


NESTED = ["[!0-9]*/*"]  # of what lies in folders only the numbered steps of sentence-transformers


def test_what_is_fetched_of_folders_within() -> None:
    kept = ["1_Pooling/config.json", "2_Dense/model.safetensors", "model.safetensors"]
    passed = ["onnx/model.safetensors", "original/config.json", "1_Pooling/code.py", "2_Dense/pytorch_model.bin"]
    wanted = ["*.safetensors", "*.json"]
    assert assembly.NESTED == NESTED
    found = filter_repo_objects(kept + passed, allow_patterns=wanted, ignore_patterns=NESTED)
    assert list(found) == kept


def test_a_hub_id_is_fetched_without_code(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def snapshot_download(name: str, allow_patterns: list[str], ignore_patterns: list[str]) -> str:
        asked.append((name, allow_patterns, ignore_patterns))
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    assert assembly.load("someone/a-model").folder == folder
    assembly.locate("someone/a-model", weights=False)
    assert asked == [
        ("someone/a-model", ["*.safetensors", "*.json", *assembly.VOCABULARIES], NESTED),
        ("someone/a-model", ["config.json"], NESTED),
    ]


def test_a_hub_id_that_cannot_be_fetched_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def snapshot_download(*_: object, **__: object) -> str:
        raise LocalEntryNotFoundError("no such model, and no network\nmore")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    with pytest.raises(
        CheckpointError, match="'no/model' is no folder here, and fetching.*failed: no such model"
    ) as at:
        assembly.load("no/model")
    assert "\n" not in str(at.value)


def test_without_the_extra_the_command_that_installs_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(NextwordError, match=r"pip install 'nextword\[hub\]'"):
        assembly.load("no/model")


def test_a_path_that_does_not_exist_is_not_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assembly, "fetch", lambda *_, **__: pytest.fail("the network was asked"))
    for name in (Path("no/model"), "./no/model", "a/b/c", "model"):
        with pytest.raises(CheckpointError, match="is not a folder"):
            assembly.load(name)
