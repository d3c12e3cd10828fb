"""Token shards: the ids of all documents in flat files that are mapped into memory, never loaded.

    TOKENS/
      tokens.json                  what it is: vocabulary, sources, counts, checksums
      tokenizer/                   the tokenizer that made it
      train/00000.bin ...          ids, little-endian uint16 (uint32 above 65,536 tokens), each document followed by eos
      train/documents.npy          int64 (N, 4): end in tokens over all shards (eos included), bytes, words, source
      validation/...

A model reads windows of this one long sequence wherever it likes; the table of documents says which text a token
belongs to, so that losses can be given per byte (of UTF-8), per word (between white space) and per source. Files are
checked by size when they are opened and by SHA-256 on request.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nextword.core.errors import DataError, nearest
from nextword.core.files import atomic_folder, finish_swap, read_json, sha256, write_json
from nextword.tokenizers.base import Tokenizer

INDEX, TABLE, TOKENIZER = "tokens.json", "documents.npy", "tokenizer"
FORMAT = 1
SPLITS = ("train", "validation")
SHARD_TOKENS = 1 << 27  # 256 MB of uint16 in a file
END, BYTES, WORDS, SOURCE = range(4)  # the columns of the table of documents
COLUMNS = 4


def dtype_of(vocab_size: int) -> np.dtype[Any]:
    """The smallest of uint16 and uint32 (little-endian) that holds every id."""
    return np.dtype("<u2" if vocab_size <= 1 << 16 else "<u4")


@dataclass
class _Half:
    """One split while it is written."""

    folder: Path
    tokens: int = 0
    documents: int = 0
    size: int = 0  # bytes of text
    words: int = 0
    open_size: int = 0  # of the document that is not yet ended
    open_words: int = 0
    shards: list[dict[str, Any]] = field(default_factory=list)
    file: BinaryIO | None = None
    hash: Any = None
    room: int = 0  # tokens that the open shard still takes
    table: BinaryIO | None = None


class Block(NamedTuple):
    """Encoded texts: whole documents, or pieces of one, one after the other.

    ids: all their ids, eos where a document ends. Per text, int64: lengths (in ids), sizes (bytes), words, sources; and
    last, whether its document ends with it.
    """

    ids: NDArray[Any]
    lengths: NDArray[np.int64]
    sizes: NDArray[np.int64]
    words: NDArray[np.int64]
    sources: NDArray[np.int64]
    last: NDArray[np.bool_]


class TokenWriter:
    """Writes a folder of tokens; use it as `with TokenWriter.create(folder, tokenizer) as writer`.

    `add` takes a document, `extend` many of them or pieces of long ones. The folder appears when the block ends without
    an error, whole or not at all; one that was there is replaced. `how` is a sentence that says how the text was split.
    """

    def __init__(self, folder: Path, tokenizer: Tokenizer, shard_tokens: int = SHARD_TOKENS) -> None:
        if tokenizer.eos_id is None:
            raise DataError("this tokenizer has no token that ends a document (eos_token in tokenizer_config.json)")
        self.folder, self.shard_tokens = folder, shard_tokens
        self.vocab_size, self.fingerprint, self.eos_id = tokenizer.vocab_size, tokenizer.fingerprint, tokenizer.eos_id
        self.dtype = dtype_of(self.vocab_size)
        self.sources: dict[str, int] = {}
        self.how = ""
        self.halves = {split: _Half(folder / split) for split in SPLITS}
        for half in self.halves.values():
            half.folder.mkdir(parents=True)
            half.table = (half.folder / "documents.raw").open("wb")
        tokenizer.save(folder / TOKENIZER)

    @classmethod
    @contextmanager
    def create(cls, folder: Path, tokenizer: Tokenizer, shard_tokens: int = SHARD_TOKENS) -> Iterator["TokenWriter"]:
        """A writer whose files take the place of `folder` when the block ends well, and vanish when it does not."""
        check_place(folder)
        with atomic_folder(folder) as partial:
            writer = cls(partial, tokenizer, shard_tokens)
            try:
                yield writer
                writer.finish()
            finally:
                writer.close()

    def source(self, name: str) -> int:
        """The number that stands for a source in the table; given in the order in which sources are first named."""
        return self.sources.setdefault(name, len(self.sources))

    def add(self, split: str, ids: Sequence[int], source: str, size: int, words: int) -> None:
        """One document: its ids without eos, its source, its UTF-8 bytes and its words."""
        one = np.ones(1, dtype=np.int64)
        whole = np.array([*ids, self.eos_id], dtype=np.int64)
        self.extend(split, Block(whole, one * len(whole), one * size, one * words, one * self.source(source), one > 0))

    def extend(self, split: str, block: "Block") -> None:
        """The ids of many documents at once; the last may go on in the next block."""
        half = self.halves[split]
        if len(block.ids) and not 0 <= int(block.ids.min()) <= int(block.ids.max()) < self.vocab_size:
            raise DataError(f"an id lies outside the vocabulary of {self.vocab_size} tokens")
        ends = np.flatnonzero(block.last)
        rows = np.empty((len(ends), COLUMNS), dtype="<i8")
        rows[:, END] = half.tokens + np.cumsum(block.lengths)[ends]
        sums = np.cumsum(np.stack([block.sizes, block.words]), axis=1) + np.array([[half.open_size], [half.open_words]])
        rows[:, [BYTES, WORDS]] = np.diff(sums[:, ends], axis=1, prepend=0).T
        rows[:, SOURCE] = block.sources[ends]
        done = sums[:, ends[-1]] if len(ends) else np.zeros(2, dtype=np.int64)
        half.open_size, half.open_words = (int(rest) for rest in sums[:, -1] - done)
        half.size, half.words = half.size + int(done[0]), half.words + int(done[1])
        half.documents += len(ends)
        assert half.table is not None
        half.table.write(rows.tobytes())
        self._write(half, block.ids.astype(self.dtype, copy=False))

    def _write(self, half: _Half, row: NDArray[Any]) -> None:
        half.tokens += len(row)
        while len(row):
            if half.file is None:
                self._open(half)
            assert half.file is not None
            part, row = row[: half.room], row[half.room :]
            data = part.tobytes()
            half.file.write(data)
            half.hash.update(data)
            half.shards[-1]["tokens"] += len(part)
            half.room -= len(part)
            if not half.room:
                self._shut(half)

    def finish(self) -> None:
        """Writes the tables and tokens.json; DataError when there is not one document."""
        if not any(half.documents for half in self.halves.values()):
            raise DataError("there is no text to tokenise: no document, or only empty ones")
        splits = {}
        for split, half in self.halves.items():
            self._shut(half)
            splits[split] = {
                "tokens": half.tokens,
                "documents": half.documents,
                "bytes": half.size,
                "words": half.words,
                "table_sha256": _table(half),
                "shards": half.shards,
            }
        write_json(
            self.folder / INDEX,
            {
                "format": FORMAT,
                "vocab_size": self.vocab_size,
                "dtype": self.dtype.name,
                "eos_id": self.eos_id,
                "tokenizer": self.fingerprint,
                "sources": list(self.sources),
                "split": self.how,
                "splits": splits,
            },
        )

    def close(self) -> None:
        """Closes the files, whatever has happened."""
        for half in self.halves.values():
            for file in (half.file, half.table):
                if file is not None:
                    file.close()

    def _open(self, half: _Half) -> None:
        name = f"{len(half.shards):05d}.bin"
        half.file = (half.folder / name).open("wb")
        half.hash, half.room = hashlib.sha256(), self.shard_tokens
        half.shards.append({"file": name, "tokens": 0, "sha256": ""})

    def _shut(self, half: _Half) -> None:
        if half.file is not None:
            half.file.close()
            half.file = None
            half.shards[-1]["sha256"] = half.hash.hexdigest()


def _table(half: _Half) -> str:
    """Turns the raw rows into documents.npy; its SHA-256."""
    assert half.table is not None
    half.table.close()
    raw, whole = half.folder / "documents.raw", half.folder / TABLE
    with whole.open("wb") as out, raw.open("rb") as rows:
        shape = {"descr": "<i8", "fortran_order": False, "shape": (half.documents, COLUMNS)}
        np.lib.format.write_array_header_1_0(out, shape)
        while block := rows.read(1 << 20):
            out.write(block)
    raw.unlink()
    return sha256(whole)


class Tokens:
    """One split of a folder of tokens, mapped into memory.

    len(tokens) is the number of ids, documents the int64 table (N, 4) described above, sources the names that its last
    column numbers, bytes and words those of all documents; vocab_size, eos_id, fingerprint (of the tokenizer) and how
    (the text was split) belong to the folder.
    """

    def __init__(self, folder: Path, split: str, index: Mapping[str, Any]) -> None:
        self.folder, self.split = folder, split
        self.vocab_size, self.eos_id = int(index["vocab_size"]), int(index["eos_id"])
        self.fingerprint, self.how = str(index["tokenizer"]), str(index["split"])
        self.sources: tuple[str, ...] = tuple(index["sources"])
        self.dtype = np.dtype(index["dtype"]).newbyteorder("<")
        facts = index["splits"][split]
        self.tokens, self.bytes, self.words = int(facts["tokens"]), int(facts["bytes"]), int(facts["words"])
        self.checksums = {TABLE: str(facts["table_sha256"])}
        self.maps: list[NDArray[Any]] = []
        self.starts = [0]
        for shard in facts["shards"]:
            self.checksums[shard["file"]] = str(shard["sha256"])
            self.maps.append(self._map(folder / split / shard["file"], int(shard["tokens"])))
            self.starts.append(self.starts[-1] + int(shard["tokens"]))
        self.documents = self._documents(int(facts["documents"]))
        last = int(self.documents[-1, END]) if len(self.documents) else 0
        if not self.tokens == self.starts[-1] == last:
            raise DataError(
                f"{folder}: {split} should hold {self.tokens} tokens, its shards hold {self.starts[-1]} and its "
                f"documents {last}; tokenise the text again"
            )

    @classmethod
    def open(cls, folder: Path | str, split: str = "train", *, verify: bool = False) -> "Tokens":
        """The split of the folder; `verify` compares every file's SHA-256. DataError when something is wrong."""
        folder = Path(folder)
        finish_swap(folder)
        index = read_index(folder)
        if split not in index["splits"]:
            raise DataError(f"{folder} has no split {split!r}{nearest(split, index['splits'])}")
        try:
            tokens = cls(folder, split, index)
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{folder / INDEX} is incomplete ({error!r}); tokenise the text again") from None
        if verify:
            tokens.verify()
        return tokens

    def __len__(self) -> int:
        return self.tokens

    def read(self, start: int, stop: int) -> NDArray[Any]:
        """The ids at start ... stop - 1 as uint16 or uint32; a view where they lie in one shard. IndexError outside."""
        if not 0 <= start <= stop <= self.tokens:
            raise IndexError(f"tokens {start} to {stop} of {self.tokens}")
        first = int(np.searchsorted(self.starts, start, side="right")) - 1
        parts: list[NDArray[Any]] = []
        for place in range(first, len(self.maps)):
            offset = self.starts[place]
            if offset >= stop and parts:
                break
            parts.append(self.maps[place][max(start - offset, 0) : stop - offset])
        if not parts:
            return np.empty(0, self.dtype)
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def verify(self) -> None:
        """Reads every file and compares its checksum; DataError names the first that has changed."""
        for name, wanted in self.checksums.items():
            path = self.folder / self.split / name
            if sha256(path) != wanted:
                raise DataError(f"{path} has changed since it was written (SHA-256 differs); tokenise the text again")

    def _map(self, path: Path, tokens: int) -> NDArray[Any]:
        if not path.is_file():
            raise DataError(f"{path} is missing; tokenise the text again")
        wanted, size = tokens * self.dtype.itemsize, path.stat().st_size
        if size != wanted:
            state = "truncated" if size < wanted else "too long"
            raise DataError(f"{path} is {state}: {size} bytes instead of {wanted}; tokenise the text again")
        return np.memmap(path, dtype=self.dtype, mode="r")

    def _documents(self, count: int) -> NDArray[np.int64]:
        path = self.folder / self.split / TABLE
        if not path.is_file():
            raise DataError(f"{path} is missing; tokenise the text again")
        try:
            table: NDArray[np.int64] = np.load(path, mmap_mode="r" if count else None, allow_pickle=False)
        except (ValueError, EOFError, OSError) as error:
            raise DataError(f"{path} is not a table of documents ({error}); tokenise the text again") from None
        if table.shape != (count, COLUMNS) or table.dtype != np.int64:
            raise DataError(
                f"{path} has {table.shape} entries instead of ({count}, {COLUMNS}); tokenise the text again"
            )
        return table


def check_place(folder: Path) -> None:
    """Raises DataError where writing tokens to `folder` would take away something else."""
    if folder.is_file():
        raise DataError(f"{folder} is a file; choose another folder for the tokens")
    finish_swap(folder)
    if folder.is_dir():
        foreign = sorted({path.name for path in folder.iterdir()} - {INDEX, TOKENIZER, *SPLITS})
        if foreign:
            raise DataError(
                f"{folder} holds something other than tokens ({foreign[0]}), which would be lost; choose another folder"
            )


def read_index(folder: Path) -> dict[str, Any]:
    """The content of tokens.json; DataError when `folder` is no folder of tokens or of another format."""
    if not (folder / INDEX).is_file():
        raise DataError(f"{folder} is no folder of tokens (it has no {INDEX}); `nextword tokenize` makes one")
    index = read_json(folder / INDEX)
    if not isinstance(index, dict) or index.get("format") != FORMAT or not isinstance(index.get("splits"), dict):
        raise DataError(f"{folder / INDEX} is not of format {FORMAT}; tokenise the text again with this version")
    return index
