"""`nextword tokenizer train`, `tokenizer show` and `tokenize` as a user calls them."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from pydoc_data import topics

import psutil
import pytest
from rich.console import Console

from nextword.data.shards import Tokens
from nextword.recipes.tokenizer_show import coloured, explain
from nextword.tokenizers.base import Tokenizer
from nextword.tokenizers.settings import TokenizerSettings
from nextword.tokenizers.train import train

Run = Callable[..., subprocess.CompletedProcess[str]]
PROSE = "\n\n".join(text for _, text in sorted(topics.topics.items()))[:200_000]


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("text") / "prose.txt"
    path.write_text(PROSE)
    return path


@pytest.fixture(scope="module")
def tokenizer(cli: Run, text: Path) -> Path:
    """A tokenizer of 500 tokens, trained by the command."""
    out = text.parent / "tokenizer"
    result = cli("tokenizer", "train", "--text", text, "--vocab-size", 500, "--out", out)
    assert result.returncode == 0, result.stderr
    assert "bpe tokenizer with 500 tokens; decoding gives back every text exactly" in result.stdout
    assert f"next: nextword tokenizer show {out}" in result.stdout
    assert "reading text" in result.stderr
    return out


def test_validation_text_is_not_seen(cli: Run, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a" * 90 + "z" * 10)
    arguments = ("--kind", "character", "--split-at", 0.9, "--out", tmp_path / "chars", "--json", "--quiet")
    result = cli("tokenizer", "train", "--text", tmp_path / "a.txt", *arguments)
    assert json.loads(result.stdout)["vocab_size"] == 3  # a, <|endoftext|>, <unk>
    assert result.stderr == ""


def test_show(cli: Run, tokenizer: Path, tmp_path: Path) -> None:
    text = "a the é\n\tthe"
    plain = cli("tokenizer", "show", tokenizer, text).stdout
    assert plain.startswith("a| the| |\\xc3|\\xa9|\n|\t|")
    rows = [line.split() for line in plain.splitlines()]
    assert ["the", "260", "4:", "20", "74", "68", "65"] in [[*row[:1], "260", *row[2:]] for row in rows]
    assert ["\\n", "1:", "0a"] in [[*row[:1], *row[2:]] for row in rows]
    assert "\x1b" not in plain
    assert "tokens for 13 bytes, 12 characters" in plain
    tree = json.loads(cli("tokenizer", "show", tokenizer, text, "--json").stdout)
    assert bytes(byte for token in tree["tokens"] for byte in token["bytes"]) == text.encode()
    assert [token["id"] for token in tree["tokens"]] == Tokenizer.load(tokenizer).encode(text)
    (tmp_path / "b.txt").write_text(text)
    assert cli("tokenizer", "show", tokenizer, "--file", tmp_path / "b.txt").stdout == plain
    assert cli("tokenizer", "show", tokenizer, input=text).stdout == plain


def test_neighbouring_tokens_have_different_colours(tokenizer: Path) -> None:
    console = Console(force_terminal=True, color_system="standard", width=80)
    with console.capture() as capture:
        console.print(coloured(explain(Tokenizer.load(tokenizer), "a the\n")))
    cyan, yellow, green = ("\x1b[30;106m", "\x1b[30;103m", "\x1b[30;102m")
    assert capture.get() == f"{cyan}a\x1b[0m{yellow} the\x1b[0m{green}↵\x1b[0m\n\n"


def test_tokenize(cli: Run, tokenizer: Path, text: Path, tmp_path: Path) -> None:
    arguments = ("--text", text, "--tokenizer", tokenizer, "--split-at", "0.9", "--out", tmp_path / "tokens")
    result = cli("tokenize", *arguments)
    assert result.returncode == 0, result.stderr
    assert "split by position" in result.stderr
    assert f"next: nextword pretrain {tmp_path / 'tokens'}" in result.stdout
    loaded, cut = Tokenizer.load(tokenizer), int(len(PROSE) * 0.9)
    for split, part in (("train", PROSE[:cut]), ("validation", PROSE[cut:])):
        tokens = Tokens.open(tmp_path / "tokens", split, verify=True)
        assert loaded.decode(tokens.read(0, len(tokens)).tolist()) == part
        assert tokens.sources == (str(text),)
    facts = json.loads(cli("tokenize", *arguments, "--json", "--quiet").stdout)
    assert facts["train"]["bytes"] == len(PROSE[:cut].encode())
    assert facts["train"]["tokens"] == len(Tokens.open(tmp_path / "tokens"))


def test_a_model_folder_will_do(cli: Run, tokenizer: Path, tmp_path: Path) -> None:
    Tokenizer.load(tokenizer).save(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    assert cli("tokenizer", "show", tmp_path, "a the").stdout.startswith("a| the\n")


def test_refusals(refused: Callable[..., str], tokenizer: Path, text: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    learn = ("tokenizer", "train", "--out", out, "--text")
    assert "use --tokenizer.vocab-size=" in refused(*learn, text, "--vocab-size", 100_000)
    assert "did you mean 'unigram'" in refused(*learn, text, "--kind", "unigramm")
    assert "no effect on the kind 'byte'" in refused(*learn, text, "--kind", "byte", "--vocab-size", 300)
    (tmp_path / "empty.txt").write_text("")
    (tmp_path / "one.txt").write_text("a")
    (tmp_path / "latin.txt").write_bytes("café".encode("latin-1"))
    assert "empty" in refused(*learn, tmp_path / "empty.txt")
    assert "give more text" in refused(*learn, tmp_path / "one.txt")
    assert "UTF-8" in refused(*learn, tmp_path / "latin.txt")
    assert "--text" in refused(*learn[:-1])
    assert not out.exists()
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "diary.md").write_text("dear diary")
    assert "holds something other" in refused("tokenizer", "train", "--text", text, "--out", tmp_path / "notes")
    encode = ("tokenize", "--text", text, "--tokenizer")
    assert "holds something other" in refused(*encode, tokenizer, "--out", tmp_path / "notes")
    assert "has no tokenizer.json" in refused(*encode, tmp_path, "--out", out)
    assert "workers must be between 1 and 1024" in refused(*encode, tokenizer, "--out", out, "--workers", 0)
    assert "not both" in refused("tokenizer", "show", tokenizer, "a", "--file", text)
    assert "no text to show" in refused("tokenizer", "show", tokenizer, "")
    assert (tmp_path / "notes" / "diary.md").read_text() == "dear diary"


@pytest.fixture
def running(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A tokenisation of 80 MB by two processes, under way, in a process group of its own as a shell makes it."""
    big = tmp_path / "big.txt"
    big.write_text(PROSE * 400)
    pieces = train(TokenizerSettings(kind="wordpiece", vocab_size=500), [PROSE])  # no table of words: some seconds
    pieces.save(tmp_path / "pieces")
    command = [sys.executable, "-m", "nextword.cli", "tokenize", "--text", str(big), "--workers", "2"]
    command += ["--tokenizer", str(tmp_path / "pieces"), "--out", str(tmp_path / "tokens")]
    command += ["--text.max-document-mb", "100"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    deadline = time.monotonic() + 60
    while len(workers_of(process)) < 2 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def workers_of(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """The worker processes that a command has started."""
    children = psutil.Process(process.pid).children()
    return [child for child in children if "spawn_main" in " ".join(child.cmdline())]


def test_ctrl_c_leaves_nothing(running: subprocess.Popen[str], tmp_path: Path) -> None:
    children = psutil.Process(running.pid).children(recursive=True)
    os.killpg(running.pid, signal.SIGINT)
    _, errors = running.communicate(timeout=60)
    assert running.returncode == 130
    assert "Traceback" not in errors
    assert "interrupted" in errors
    assert sorted(path.name for path in tmp_path.iterdir()) == ["big.txt", "pieces"]
    assert children
    psutil.wait_procs(children, timeout=10)
    assert not any(child.is_running() for child in children)


def test_a_killed_worker_is_one_line(running: subprocess.Popen[str], tmp_path: Path) -> None:
    workers = workers_of(running)
    assert len(workers) == 2
    workers[0].kill()
    _, errors = running.communicate(timeout=60)
    assert running.returncode == 1
    assert "error: a worker process was ended by signal 9 (SIGKILL), as happens when memory runs out" in errors
    assert "Traceback" not in errors
    assert sorted(path.name for path in tmp_path.iterdir()) == ["big.txt", "pieces"]
