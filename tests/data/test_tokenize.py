"""Tokenising: the same shards whatever the processes, nothing half-written, a dead process is told."""

import os
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from pydoc_data import topics

import pytest

from nextword.core.errors import DataError, ResourceError
from nextword.core.records import Document
from nextword.data import tokenize as module
from nextword.data.shards import Tokens
from nextword.data.tokenize import tokenize
from nextword.data.workers import Workers
from nextword.tokenizers.base import Tokenizer
from nextword.tokenizers.settings import TokenizerSettings
from nextword.tokenizers.train import train

PROSE = "\n\n".join(text for _, text in sorted(topics.topics.items()))[:150_000]


def documents() -> Iterator[tuple[str, Document]]:
    """Short documents of two sources, an empty one, one in Japanese, and one long enough to be cut many times."""
    for number, text in enumerate(PROSE[:40_000].split("\n\n")):
        split = "validation" if number % 5 == 0 else "train"
        yield split, Document(f"a/{number}", text, "b.txt" if number % 3 else "a.txt")
    yield "train", Document("empty", "", "c.txt")
    yield "train", Document("japanese", "吾輩は猫である。\n名前はまだ無い。 \x85🙂\n" * 300, "c.txt")
    yield "train", Document("long", PROSE, "c.txt")


@pytest.fixture(scope="module")
def tokenizers() -> dict[str, Tokenizer]:
    sizes = {"bpe": 400, "character": None, "wordpiece": 500}
    return {kind: train(TokenizerSettings(kind=kind, vocab_size=size), [PROSE]) for kind, size in sizes.items()}


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many batches from little text, and processes from the first one on."""
    monkeypatch.setattr(module, "BATCH", 2000)
    monkeypatch.setattr(module, "ALONE", 0)


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_ids_are_those_of_the_documents(tmp_path: Path, tokenizers: dict[str, Tokenizer], small_batches: None) -> None:
    for kind, tokenizer in tokenizers.items():
        tokenize(tokenizer, documents(), tmp_path / kind, how="by hand", workers=1)
        for split in ("train", "validation"):
            tokens = Tokens.open(tmp_path / kind, split, verify=True)
            wanted = [document for name, document in documents() if name == split and document.text]
            start = 0
            for row, document in zip(tokens.documents.tolist(), wanted, strict=True):
                assert tokens.read(start, row[0]).tolist() == [*tokenizer.encode(document.text), tokenizer.eos_id]
                text = document.text
                if kind != "character":  # which may be cut inside a word
                    assert row[2] == len(text.split())
                assert (row[1], tokens.sources[row[3]]) == (len(text.encode()), document.source)
                start = row[0]
            assert start == len(tokens)
            assert tokens.how == "by hand"


def test_the_number_of_processes_changes_nothing(
    tmp_path: Path, tokenizers: dict[str, Tokenizer], small_batches: None
) -> None:
    for workers in (1, 2, 3):
        tokenize(tokenizers["bpe"], documents(), tmp_path / str(workers), workers=workers)
    assert content(tmp_path / "1") == content(tmp_path / "2") == content(tmp_path / "3")


def test_a_small_text_starts_no_process(
    tmp_path: Path, tokenizers: dict[str, Tokenizer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "Workers", None)
    tokenize(tokenizers["bpe"], documents(), tmp_path / "tokens", workers=8)
    assert len(Tokens.open(tmp_path / "tokens"))


@pytest.mark.parametrize("workers", [1, 2])
def test_nothing_half_written(
    tmp_path: Path, tokenizers: dict[str, Tokenizer], small_batches: None, workers: int
) -> None:
    def interrupted() -> Iterator[tuple[str, Document]]:
        yield from documents()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tokenize(tokenizers["bpe"], interrupted(), tmp_path / "tokens", workers=workers)
    assert not list(tmp_path.iterdir())
    with pytest.raises(DataError, match=r"surrogate pair \(U\+DC00\) at character 1"):
        broken = [("train", Document("x", "a\udc00", "x")), *documents()]
        tokenize(tokenizers["wordpiece"], broken, tmp_path / "tokens", workers=workers)
    assert not list(tmp_path.iterdir())


def test_nothing_to_tokenise(tmp_path: Path, tokenizers: dict[str, Tokenizer]) -> None:
    for nothing in ([], [("train", Document("x", "", "x"))]):
        with pytest.raises(DataError, match="no text to tokenise"):
            tokenize(tokenizers["bpe"], nothing, tmp_path / "tokens")


def test_other_files_are_not_taken_away(tmp_path: Path, tokenizers: dict[str, Tokenizer]) -> None:
    tokenize(tokenizers["bpe"], documents(), tmp_path / "tokens")
    tokenize(tokenizers["character"], documents(), tmp_path / "tokens")
    assert Tokens.open(tmp_path / "tokens").fingerprint == tokenizers["character"].fingerprint
    (tmp_path / "tokens" / "thesis.doc").write_text("years of work")
    with pytest.raises(DataError, match="something other than tokens .thesis.doc."):
        tokenize(tokenizers["bpe"], documents(), tmp_path / "tokens")
    assert (tmp_path / "tokens" / "thesis.doc").read_text() == "years of work"


def test_a_document_that_memory_cannot_take(
    tmp_path: Path, tokenizers: dict[str, Tokenizer], small_batches: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "EXPANSION", 10**12)
    with pytest.raises(ResourceError, match="wall.txt: 0 million characters without a place to cut"):
        tokenize(tokenizers["bpe"], [("train", Document("wall.txt", "x" * 5000, "x"))], tmp_path / "tokens")


def test_results_come_in_order() -> None:
    with Workers(3, partial, (pow, 3)) as workers:  # pow(3, item)
        assert list(workers.map(range(200))) == [3**item for item in range(200)]


@pytest.mark.parametrize(
    ("deadly", "item", "message"),
    [
        (signal.raise_signal, signal.SIGKILL, r"ended by signal 9 \(SIGKILL\)"),
        (os._exit, 3, "ended with status 3"),
    ],
)
def test_a_process_that_dies_is_told(deadly: object, item: int, message: str) -> None:
    with pytest.raises(ResourceError, match=message), Workers(2, partial, (deadly,)) as workers:
        list(workers.map([item] * 50))
    assert not any(process.process.is_alive() for process in workers.processes)
