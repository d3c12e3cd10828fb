"""`nextword evaluate` as a user calls it."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

import nextword as nw
from nextword.data.shards import TokenWriter

Run = Callable[..., subprocess.CompletedProcess[str]]
KINDS = ["llama", "lstm", "ngram"]
TEXTS = ["The cat sat.", "Once upon a time there was a latte. " * 12]


@pytest.mark.parametrize("kind", KINDS)
def test_text_files_by_source(here: Run, tiny: Callable[[str], Path], tmp_path: Path, kind: str) -> None:
    for name, text in zip("ab", TEXTS, strict=True):
        (tmp_path / f"{name}.txt").write_text(text)
    result = here("evaluate", tiny(kind), "--perplexity", "--text", tmp_path / "a.txt", tmp_path / "b.txt", "--json")
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    lm = nw.load(tiny(kind))
    for name, text in zip("ab", TEXTS, strict=True):
        [source] = [source for source in found["sources"] if source.endswith(f"{name}.txt")]
        assert found["sources"][source] == pytest.approx(lm.perplexity(text), rel=1e-5)
    assert found["all"] == pytest.approx(lm.perplexity(TEXTS), rel=1e-5)
    assert "each text alone" in found["what"]


def test_a_table_for_people(cli: Run, tiny: Callable[[str], Path], tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(TEXTS[0])
    result = cli("evaluate", tiny("llama"), "--perplexity", "--text", tmp_path / "a.txt")
    figures = nw.load(tiny("llama")).perplexity(TEXTS[0])
    assert f"{figures['perplexity']:.2f}" in result.stdout
    assert f"{figures['bits_per_byte']:.4f}" in result.stdout
    assert "without its end token" in result.stdout
    assert "evaluate" in result.stderr  # the progress


@pytest.fixture
def tokens(tiny: Callable[[str], Path], tmp_path: Path) -> Path:
    tokenizer = nw.load(tiny("llama")).tokenizer
    with TokenWriter.create(tmp_path / "tokens", tokenizer) as writer:
        for text in TEXTS:
            size, words = len(text.encode()), len(text.split())
            writer.add("validation", tokenizer.encode(text), "texts", size, words)
        writer.add("train", tokenizer.encode("The"), "texts", 3, 1)
    return tmp_path / "tokens"


def test_token_files(here: Run, tiny: Callable[[str], Path], tokens: Path) -> None:
    lm = nw.load(tiny("llama"))
    found = json.loads(here("evaluate", tiny("llama"), "--perplexity", "--tokens", tokens, "--json").stdout)
    assert found["all"] == pytest.approx(lm.perplexity(TEXTS), rel=1e-5)
    train = json.loads(
        here("evaluate", tiny("llama"), "--perplexity", "--tokens", tokens, "--split", "train", "--json").stdout
    )
    assert train["all"] == pytest.approx(lm.perplexity("The"), rel=1e-5)
    windows = ("evaluate", tiny("llama"), "--perplexity", "--tokens", tokens, "--windows", 16, "--json")
    stream = json.loads(here(*windows).stdout)
    count = sum(len(lm.tokenizer.encode(text)) + 1 for text in TEXTS)
    assert stream["all"]["tokens"] == count - 1
    assert stream["all"]["bytes"] == sum(map(len, TEXTS))
    assert "windows of 16 tokens" in stream["what"]


def test_wrong_settings_are_one_line(
    refused: Callable[..., str], tiny: Callable[[str], Path], tokens: Path, tmp_path: Path
) -> None:
    model = tiny("llama")
    text = tmp_path / "a.txt"
    text.write_text("words")
    assert "say what to evaluate: --perplexity" in refused("evaluate", model, "--text", text)
    assert "either as --text" in refused("evaluate", model, "--perplexity")
    assert "either as --text" in refused("evaluate", model, "--perplexity", "--text", text, "--tokens", tokens)
    assert "needs --tokens" in refused("evaluate", model, "--perplexity", "--text", text, "--windows", 4)
    wide = refused("evaluate", model, "--perplexity", "--tokens", tokens, "--windows", 65)
    assert "more than the model's max_length of 64" in wide
    assert "no split 'test'" in refused("evaluate", model, "--perplexity", "--tokens", tokens, "--split", "test")


def test_bad_text_is_one_line(refused: Callable[..., str], tiny: Callable[[str], Path], tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text("")
    (tmp_path / "binary.txt").write_bytes(b"\x00\xff\xfe")
    for name in ("empty.txt", "binary.txt", "missing.txt"):
        assert name in refused("evaluate", tiny("llama"), "--perplexity", "--text", tmp_path / name)


def test_tokens_of_another_tokenizer_are_refused(
    refused: Callable[..., str], tiny: Callable[[str], Path], tmp_path: Path
) -> None:
    from nextword.tokenizers.settings import TokenizerSettings
    from nextword.tokenizers.train import train

    other = train(TokenizerSettings(kind="byte"), iter(["abc"]))
    with TokenWriter.create(tmp_path / "tokens", other) as writer:
        writer.add("validation", other.encode("abc"), "texts", 3, 1)
    assert "another tokenizer" in refused("evaluate", tiny("llama"), "--perplexity", "--tokens", tmp_path / "tokens")
