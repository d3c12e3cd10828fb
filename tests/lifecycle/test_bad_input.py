"""Bad input of every sort, from the command line: one line with cause and remedy, non-zero status, nothing lost."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest
import torch
from safetensors.torch import load_file, save_file

Refused = Callable[..., str]


@pytest.fixture(scope="module")
def model(cli: Callable[..., CompletedProcess[str]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small finished model with its tokenizer, and the tokens that it was made from beside it."""
    out = tmp_path_factory.mktemp("bad") / "out"
    sizes = ["--model.width=32", "--model.depth=1", "--model.heads=2", "--model.max-length=64"]
    train = ["--train.steps=4", "--train.batch=2", "--train.length=32", "--sample.prompts", "A"]
    result = cli("run", "demo", "--out", out, "--text", "tinyworld:100", "--tokenizer.vocab-size=300", *sizes, *train)
    assert result.returncode == 0, result.stderr
    return out / "pretrain" / "model"


TEXTS = {
    "empty": (b"", ["is empty"]),
    "binary": (b"\x7fELF\x02\x01\x00\x00\x00", ["binary"]),
    "not utf-8": (b"caf\xe9 au lait", ["UTF-8", "offset 3"]),
    "one byte": (b"a", ["larger than this corpus allows", "more text"]),
}


@pytest.mark.parametrize("name", TEXTS)
def test_text_that_cannot_be_learnt_from(refused: Refused, tmp_path: Path, name: str) -> None:
    content, words = TEXTS[name]
    path, out = tmp_path / "text.txt", tmp_path / "out"
    path.write_bytes(content)
    line = refused("run", "demo", "--text", path, "--out", out)
    assert not (out / "tokenizer").exists()
    assert all(word in line for word in words), line
    assert path.read_bytes() == content


def test_a_document_longer_than_its_share_of_memory(refused: Refused, tmp_path: Path) -> None:
    path = tmp_path / "long.txt"
    path.write_text("a long story\n" * 100_000)
    line = refused("run", "demo", "--text", path, "--out", tmp_path / "out", "--text.max-document-mb=1")
    assert "--separator" in line and str(path) in line


def test_a_vocabulary_that_the_text_does_not_allow(refused: Refused, tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text("a short story about a short story\n" * 50)
    line = refused("tokenizer", "train", "--text", path, "--vocab-size=5000", "--out", tmp_path / "tok")
    assert "vocab" in line and "5,000" in line or "5000" in line
    assert not (tmp_path / "tok").exists()


def test_a_context_longer_than_the_model_reads(refused: Refused, model: Path) -> None:
    assert "at most 64" in refused("generate", model, "word " * 200)
    assert "max_length" in refused("generate", model, "Once", "--max-tokens=100")
    tokens = model.parents[1] / "tokens"
    line = refused("pretrain", tokens, "--out", model.parent / "other", "--train.length=900", "--model.max-length=64")
    assert "train.length" in line and "--model.max-length" in line or "max_length" in line


@pytest.mark.parametrize(
    "flags, words",
    [
        (["--model.head-width=7"], ["model.head_width 7 must be even"]),
        (["--model.width=48", "--model.heads=5"], ["model.heads 5 must divide model.width 48"]),
        (["--model=gpt2", "--model.head-width=7"], ["gpt2", "head_width"]),
        (["--model=gpt2", "--model.width=50", "--model.heads=4"], ["heads 4", "width 50"]),
        (["--model=bert", "--model.head-width=7"], ["bert", "head_width"]),
        (["--model=bert", "--model.width=50", "--model.heads=4"], ["heads 4", "width 50"]),
        (["--train.batch-warmup=2000"], ["train.batch_warmup", "1000"]),
        (["--train.schedule=constant", "--train.decay=0.5"], ["train.decay", "constant"]),
        (["--train.ema=0.9", "--train.tail=0.1"], ["train.ema", "train.tail"]),
    ],
    ids=str,
)
def test_odd_heads_and_settings_that_cannot_be(
    refused: Refused, model: Path, tmp_path: Path, flags: list[str], words: list[str]
) -> None:
    line = refused("pretrain", model.parents[1] / "tokens", "--out", tmp_path / "out", "--train.length=16", *flags)
    assert all(word in line for word in words), line


def test_a_huge_learning_rate(refused: Refused, model: Path, tmp_path: Path) -> None:
    sizes = ["--model.width=32", "--model.depth=1", "--train.length=16", "--train.batch=4", "--train.eval-every=0"]
    line = refused(
        "pretrain", model.parents[1] / "tokens", "--out", tmp_path, "--train.learning-rate=20", *sizes, "--quiet"
    )
    assert "--train.learning_rate=10" in line and "checkpoint" in line


def test_a_folder_that_is_no_checkpoint(refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    assert "config.json" in refused("generate", tmp_path / "notes", "Once")
    assert "missing" in refused("generate", tmp_path / "missing", "Once")
    assert "config.json" in refused("inspect", tmp_path / "notes")


@pytest.fixture
def copy(model: Path, tmp_path: Path) -> Path:
    """A copy of the model, to break."""
    return Path(shutil.copytree(model, tmp_path / "copy"))


def test_truncated_weights(refused: Refused, copy: Path) -> None:
    weights = copy / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    assert "model.safetensors" in refused("generate", copy, "Once")
    weights.write_bytes(b"\xff" * 64)  # a header length of 2^64 - 1
    assert "model.safetensors" in refused("generate", copy, "Once")


def test_weights_that_are_not_numbers(refused: Refused, copy: Path) -> None:
    tensors = load_file(copy / "model.safetensors")
    name = "model.norm.weight"
    tensors[name] = torch.full_like(tensors[name], float("nan"))
    save_file(tensors, copy / "model.safetensors", {"format": "pt"})
    line = refused("generate", copy, "Once")
    assert name in line and "NaN" in line


def test_a_missing_an_extra_and_a_misshapen_tensor(refused: Refused, copy: Path) -> None:
    whole = load_file(copy / "model.safetensors")
    name = "model.layers.0.mlp.up_proj.weight"

    def broken(tensors: dict[str, torch.Tensor]) -> str:
        save_file(tensors, copy / "model.safetensors", {"format": "pt"})
        return refused("generate", copy, "Once")

    assert name in broken({key: tensor for key, tensor in whole.items() if key != name})
    assert "surplus.weight" in broken(whole | {"surplus.weight": torch.zeros(2)})
    line = broken(whole | {name: whole[name][:, :-1].contiguous()})
    assert name in line and "31" in line and "32" in line


def test_a_config_key_that_is_not_honoured(refused: Refused, copy: Path) -> None:
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"sliding_window_pattern": 6}))
    assert "sliding_window_pattern" in refused("generate", copy, "Once")
