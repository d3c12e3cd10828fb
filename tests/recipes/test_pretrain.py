"""`nextword pretrain` as a user types it, for every kind of model."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from nextword.core.errors import CheckpointError, SettingsError
from nextword.data.shards import TokenWriter
from nextword.models.checkpoint import load_model
from nextword.models.settings import ModelSettings
from nextword.recipes.pretrain import pretrain_tokens
from nextword.tokenizers.base import Tokenizer
from nextword.tokenizers.settings import TokenizerSettings
from nextword.tokenizers.train import train
from nextword.train.settings import TrainSettings

QUICK = ["--train.steps=4", "--train.length=16", "--train.batch=2", "--train.eval_tokens=64", "--train.precision=fp32"]


def make_tokens(folder: Path, texts: list[str]) -> Path:
    tokenizer = train(TokenizerSettings(kind="character"), iter(texts))
    with TokenWriter.create(folder, tokenizer) as writer:
        for number, text in enumerate(texts):
            split = "validation" if number % 10 == 9 else "train"
            writer.add(split, tokenizer.encode(text), "sums", len(text.encode()), len(text.split()))
    return folder


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    texts = [f"{a} and {b} make {a + b}." for a in range(20) for b in range(10)]
    return make_tokens(tmp_path_factory.mktemp("tokens") / "tokens", texts)


@pytest.mark.parametrize(
    "family, sizes",
    [
        ("llama", ["--model.width=16", "--model.depth=1", "--model.heads=2"]),
        ("nextword", ["--model.width=16", "--model.depth=2", "--model.heads=2", "--model.without=cap"]),
        ("lstm", ["--model.width=8", "--model.depth=1"]),
        ("ngram", ["--model.order=3"]),
    ],
)
def test_every_kind_through_the_same_command(
    cli: Callable, tokens: Path, tmp_path: Path, family: str, sizes: list[str]
) -> None:
    out = tmp_path / "run"
    result = cli("pretrain", tokens, "--model", family, "--out", out, "--seed", 3, *QUICK, *sizes)
    assert result.returncode == 0, result.stderr
    assert "validation loss" in result.stdout and "parameters" in result.stdout
    assert ("only nextword opens" in result.stdout) == (family == "nextword")
    assert result.stdout.splitlines()[-1].startswith(f"next: nextword generate {out / 'model'}")
    tree = json.loads((out / "settings.json").read_text())
    assert tree["settings"]["seed"] == 3 and tree["run"]["model.family"] == family
    lines = (out / "log.jsonl").read_text().splitlines()
    assert len(lines) == (1 if family == "ngram" else 4)
    assert load_model(out / "model").vocab_size == Tokenizer.load(out / "model").vocab_size


def test_again_it_is_finished_and_json_says_what_came_of_it(cli: Callable, tokens: Path, tmp_path: Path) -> None:
    out, sizes = tmp_path / "run", ["--model.width=16", "--model.depth=1"]
    first = cli("pretrain", tokens, "-o", out, *QUICK, *sizes, "--quiet", "--json")
    assert first.returncode == 0 and first.stderr == "", first.stderr
    again = cli("pretrain", tokens, "-o", out, *QUICK, *sizes, "--json")
    assert json.loads(first.stdout) == json.loads(again.stdout)
    assert "nothing to do" in again.stderr
    assert json.loads(first.stdout)["steps"] == 4


def test_init_from_goes_on_with_the_weights(tokens: Path, tmp_path: Path) -> None:
    sizes = ModelSettings(width=16, depth=1, heads=2)
    settings = TrainSettings(steps=30, length=16, batch=4, eval_tokens=200, learning_rate=0.01, precision="fp32")
    first = pretrain_tokens(tokens, sizes, settings, tmp_path / "first", quiet=True)
    still = TrainSettings(steps=1, length=16, batch=4, eval_tokens=200, learning_rate=0, precision="fp32")
    more = pretrain_tokens(
        tokens, ModelSettings(), still, tmp_path / "more", init_from=str(tmp_path / "first" / "model"), quiet=True
    )
    assert more.validation_loss == pytest.approx(first.validation_loss, abs=1e-6)


def test_refusals(refused: Callable[..., str], tokens: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert "is no folder of tokens" in refused("pretrain", tmp_path / "none", "--out", out)
    assert "Did you mean --train.steps" in refused("pretrain", tokens, "--out", out, "--train.step=3")
    assert not out.exists()


@pytest.mark.parametrize(
    "model, train, init_from, error, message",
    [
        ({}, {"length": 600}, None, SettingsError, "reads at most 512 tokens"),
        ({"family": "ngram", "width": 8}, {}, None, SettingsError, "does not apply to the family 'ngram'"),
        ({}, {}, "/nowhere/at/all", CheckpointError, "is not a folder"),
        ({"width": 8}, {}, "/nowhere/at/all", SettingsError, "brings a model of its own"),
    ],
    ids=str,
)
def test_refused_before_anything_is_written(
    tokens: Path, tmp_path: Path, model: dict, train: dict, init_from: str | None, error: type, message: str
) -> None:
    with pytest.raises(error, match=message):
        pretrain_tokens(tokens, ModelSettings(**model), TrainSettings(**train), tmp_path / "run", init_from=init_from)
    assert not (tmp_path / "run" / "settings.json").exists()


def test_init_from_refuses_another_tokenizer_and_counts(tokens: Path, tmp_path: Path) -> None:
    other = make_tokens(tmp_path / "other", ["some other text of other letters: xyz"] * 20)
    quick = TrainSettings(steps=1, length=8, precision="fp32")
    for family in ("llama", "ngram"):
        sizes = ModelSettings(family=family, width=16, depth=1) if family == "llama" else ModelSettings(family=family)
        pretrain_tokens(other, sizes, quick, tmp_path / family, quiet=True)
    model = str(tmp_path / "llama" / "model")
    with pytest.raises(SettingsError, match=f"another tokenizer than that of {model}"):
        pretrain_tokens(tokens, ModelSettings(), quick, tmp_path / "run", init_from=model)
    with pytest.raises(SettingsError, match="no weights to go on from"):
        pretrain_tokens(other, ModelSettings(), quick, tmp_path / "run", init_from=str(tmp_path / "ngram" / "model"))


def test_a_corpus_shorter_than_one_window(refused: Callable[..., str], tmp_path: Path) -> None:
    tokens = make_tokens(tmp_path / "tokens", ["short"] * 2)
    message = refused("pretrain", tokens, "--out", tmp_path / "run")
    assert "has 12 tokens, and one training window needs 257" in message
