"""Token shards: what is written is what is read, and every damage is told."""

import json
from pathlib import Path

import numpy as np
import pytest

from nextword.core.errors import DataError
from nextword.data.shards import Block, Tokens, TokenWriter, dtype_of
from nextword.tokenizers.base import Tokenizer
from nextword.tokenizers.settings import TokenizerSettings
from nextword.tokenizers.train import train


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train(TokenizerSettings(kind="byte"), ["any"])


def block(writer: TokenWriter, text: str, source: str, words: int, last: bool) -> Block:
    """A piece of a document as the tokenising processes hand it in."""
    ids = np.array([*text.encode(), *([256] if last else [])], dtype=np.uint16)
    numbers = [np.array([number]) for number in (len(ids), len(text.encode()), words, writer.source(source))]
    return Block(ids, *numbers, np.array([last]))


@pytest.fixture
def folder(tmp_path: Path, tokenizer: Tokenizer) -> Path:
    """Two training documents over three shards of four tokens, one validation document."""
    with TokenWriter.create(tmp_path / "tokens", tokenizer, shard_tokens=4) as writer:
        writer.how = "by document"
        writer.add("train", tokenizer.encode("one two"), "a.txt", size=7, words=2)
        writer.extend("train", block(writer, "x", "b.txt", words=1, last=False))
        writer.extend("train", block(writer, "y z", "b.txt", words=1, last=True))
        writer.add("validation", [104, 105], "b.txt", size=2, words=1)
    return tmp_path / "tokens"


def test_what_is_written_is_read(folder: Path, tokenizer: Tokenizer) -> None:
    tokens = Tokens.open(folder, "train", verify=True)
    whole = [*b"one two", 256, *b"xy z", 256]
    assert len(tokens) == len(whole) == 13
    for start in range(14):
        for stop in range(start, 14):
            assert tokens.read(start, stop).tolist() == whole[start:stop]
    assert tokens.documents.tolist() == [[8, 7, 2, 0], [13, 4, 2, 1]]
    assert tokens.sources == ("a.txt", "b.txt")
    assert (tokens.vocab_size, tokens.eos_id, tokens.how) == (257, 256, "by document")
    assert tokens.fingerprint == tokenizer.fingerprint == Tokenizer.load(folder / "tokenizer").fingerprint
    assert Tokens.open(folder, "validation").read(0, 3).tolist() == [104, 105, 256]
    assert sorted(path.name for path in (folder / "train").iterdir()) == [
        "00000.bin", "00001.bin", "00002.bin", "00003.bin", "documents.npy",
    ]  # fmt: skip
    assert (folder / "train" / "00000.bin").read_bytes() == np.array([*b"one "], "<u2").tobytes()
    assert (tokens.bytes, tokens.words) == (11, 4)
    with pytest.raises(IndexError):
        tokens.read(0, 14)


def test_ids_need_four_bytes_only_above_65536() -> None:
    assert [dtype_of(size).itemsize for size in (257, 65536, 65537)] == [2, 2, 4]


def test_nothing_is_left_of_a_write_that_fails(tmp_path: Path, folder: Path, tokenizer: Tokenizer) -> None:
    before = (folder / "tokens.json").read_bytes()
    with pytest.raises(KeyboardInterrupt), TokenWriter.create(folder, tokenizer) as writer:
        writer.add("train", [1, 2, 3], "c", size=3, words=1)
        raise KeyboardInterrupt
    assert (folder / "tokens.json").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["tokens"]


def test_no_documents_and_foreign_ids_are_refused(tmp_path: Path, tokenizer: Tokenizer) -> None:
    with pytest.raises(DataError, match="no text to tokenise"), TokenWriter.create(tmp_path / "a", tokenizer):
        pass
    for ids in ([257], [-1]):
        new = TokenWriter.create(tmp_path / "a", tokenizer)
        with pytest.raises(DataError, match="outside the vocabulary of 257"), new as writer:
            writer.add("train", ids, "c", size=1, words=1)
    assert not list(tmp_path.iterdir())


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def lengthen(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0\0")


@pytest.mark.parametrize(
    ("name", "damage", "message"),
    [
        ("train/00001.bin", cut, "truncated: 7 bytes instead of 8"),
        ("train/00001.bin", lengthen, "too long"),
        ("train/00002.bin", Path.unlink, "00002.bin is missing"),
        ("train/documents.npy", cut, "not a table of documents"),
        ("train/documents.npy", Path.unlink, "documents.npy is missing"),
        ("tokens.json", Path.unlink, "no folder of tokens"),
        ("tokens.json", cut, "not valid JSON|format"),
    ],
)
def test_damage_is_told(folder: Path, name: str, damage, message: str) -> None:  # type: ignore[no-untyped-def]
    if name == "tokens.json" and damage is cut:
        (folder / name).write_bytes((folder / name).read_bytes()[:-30])
    else:
        damage(folder / name)
    with pytest.raises(DataError, match=message):
        Tokens.open(folder, "train")


def test_an_index_that_lies_is_told(folder: Path) -> None:
    index = json.loads((folder / "tokens.json").read_text())
    for key in ("vocab_size", "dtype", "sources"):
        (folder / "tokens.json").write_text(json.dumps({name: index[name] for name in index if name != key}))
        with pytest.raises(DataError, match="incomplete"):
            Tokens.open(folder, "train")
    index["splits"]["train"]["tokens"] = 10
    (folder / "tokens.json").write_text(json.dumps(index))
    with pytest.raises(DataError, match="should hold 10 tokens, its shards hold 13"):
        Tokens.open(folder, "train")


def test_a_changed_byte_is_found_by_checksum(folder: Path) -> None:
    path = folder / "train" / "00000.bin"
    path.write_bytes(b"\1" + path.read_bytes()[1:])
    Tokens.open(folder, "train")
    with pytest.raises(DataError, match="has changed since it was written"):
        Tokens.open(folder, "train", verify=True)


def test_an_unknown_split_names_the_nearest(folder: Path) -> None:
    with pytest.raises(DataError, match="did you mean 'validation'"):
        Tokens.open(folder, "validaton")
