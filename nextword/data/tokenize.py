"""Documents to token shards, on all cores and in the same memory however much text there is.

Documents are gathered to batches of about half a megabyte, long ones in pieces where cutting cannot change the ids
(`tokenizers/cuts.py`), and handed to spawned processes. Results come back in order, so that the shards are the same
whatever the number of processes. A text of a few megabytes is encoded in this process: starting others takes longer.
"""

import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import psutil
from numpy.typing import NDArray

from nextword.core.errors import ResourceError
from nextword.core.progress import Progress
from nextword.core.records import Document
from nextword.data.shards import TOKENIZER, Block, TokenWriter, dtype_of
from nextword.data.workers import Workers
from nextword.tokenizers.base import Tokenizer
from nextword.tokenizers.cuts import pieces, rule
from nextword.tokenizers.words import WordTable

BATCH = 1 << 19  # characters that are encoded at a time
BATCH_TEXTS = 1 << 14  # fewer characters where documents are tiny
ALONE = 8_000_000  # characters up to which other processes do not pay
EXPANSION = 200  # bytes of memory that encoding one character takes in the tokenizers library (90 to 210 measured)


class Encoded(NamedTuple):
    """What comes back for a batch of texts; the fields are those of `shards.Block`."""

    ids: NDArray[Any]
    lengths: NDArray[np.int64]
    sizes: NDArray[np.int64]
    words: NDArray[np.int64]


@dataclass
class Batch:
    """Texts of one split that are encoded together."""

    split: str
    texts: list[str] = field(default_factory=list)
    sources: list[int] = field(default_factory=list)
    last: list[bool] = field(default_factory=list)
    characters: int = 0


Work = tuple[list[str], list[bool]]
Run = Callable[[Iterable[Work]], Iterator[Encoded]]  # like `map` with the function already given


def tokenize(
    tokenizer: Tokenizer,
    documents: Iterable[tuple[str, Document]],
    out: Path,
    *,
    how: str = "",
    workers: int | None = None,
    characters: int | None = None,
    quiet: bool = True,
) -> None:
    """Writes the folder of tokens `out` from ("train" | "validation", document) pairs.

    `how` says in a sentence how the text was split, `workers` is the number of processes (None: one a core, none for a
    small text), `characters` the length of all text if known (for the progress line). Errors: DataError when there is
    no text or a document is not valid Unicode; ResourceError for a full disk, a document that memory cannot take, and a
    process that died. Whatever happens, `out` is left whole: as it was, or new.
    """
    count = workers or cores()
    with TokenWriter.create(out, tokenizer) as writer, ExitStack() as stack:
        writer.how = how
        progress = stack.enter_context(Progress("tokenising", characters, "characters", quiet=quiet))
        found = batches(documents, tokenizer, writer)
        first = list(beginning(found, ALONE))
        run: Run = partial(map, Encoder(tokenizer))
        if count > 1 and sum(batch.characters for batch in first) > ALONE:
            run = stack.enter_context(Workers(count, load_encoder, (str(writer.folder / TOKENIZER),))).map
        write(writer, chain(first, found), run, progress)


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def batches(documents: Iterable[tuple[str, Document]], tokenizer: Tokenizer, writer: TokenWriter) -> Iterator[Batch]:
    """The documents in batches of one split each, cut into pieces where they are long; empty ones are left out."""
    find = rule(tokenizer)
    gathering: dict[str, Batch] = {}
    for split, document in documents:
        rest = len(document.text)
        if not rest:
            continue
        source = writer.source(document.source)
        for piece in pieces(document.text, BATCH, find) if rest > BATCH else (document.text,):
            if len(piece) > 2 * BATCH:
                check_memory(document.id, len(piece))
            rest -= len(piece)
            batch = gathering.get(split)
            if batch is None:
                batch = gathering[split] = Batch(split)
            batch.texts.append(piece)
            batch.sources.append(source)
            batch.last.append(not rest)
            batch.characters += len(piece)
            if batch.characters >= BATCH or len(batch.texts) >= BATCH_TEXTS:
                yield gathering.pop(split)
    yield from gathering.values()


def beginning(found: Iterator[Batch], characters: int) -> Iterator[Batch]:
    """The first batches, until there are more than `characters` in them."""
    while characters >= 0 and (batch := next(found, None)) is not None:
        characters -= batch.characters
        yield batch


def check_memory(name: str, characters: int) -> None:
    """Raises ResourceError for a piece of a document so long that encoding it would not fit into the free memory."""
    need, free = characters * EXPANSION, psutil.virtual_memory().available
    if need > free:
        raise ResourceError(
            f"{name}: {characters / 1e6:.0f} million characters without a place to cut need {need / 1e9:.1f} GB "
            f"to be tokenised, and {free / 1e9:.1f} GB are free; split the document, for example with --text.separator"
        )


class Encoder:
    """Encodes batches: called with texts and whether each ends its document, gives their ids and counts."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.dtype = dtype_of(tokenizer.vocab_size)
        self.table = WordTable(tokenizer, self.dtype, table=tokenizer.faster is None)
        self.end = np.array([tokenizer.eos_id], dtype=self.dtype).tobytes()

    def __call__(self, work: Work) -> Encoded:
        """Encodes; eos follows the last piece of each document."""
        texts, last = work
        self.table.forget()
        rows = self.table.encode_batch(texts)
        rows = [row + self.end if whole else row for row, whole in zip(rows, last, strict=True)]
        lengths = np.array([len(row) for row in rows], dtype=np.int64) // self.dtype.itemsize
        ids = np.frombuffer(b"".join(rows), dtype=self.dtype)
        sizes = np.array([len(text) if text.isascii() else len(text.encode()) for text in texts], dtype=np.int64)
        words = np.array([len(text.split()) for text in texts], dtype=np.int64)
        return Encoded(ids, lengths, sizes, words)


def load_encoder(folder: str) -> Encoder:
    """What a worker process begins with; the library's own threads are off, since there is a process for each core."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    return Encoder(Tokenizer.load(folder))


def write(writer: TokenWriter, found: Iterable[Batch], run: Run, progress: Progress) -> None:
    """Encodes the batches by `run` and hands the results, which come in the same order, to the writer."""
    under_way: deque[Batch] = deque()

    def work() -> Iterator[Work]:
        for batch in found:
            under_way.append(batch)
            yield batch.texts, batch.last

    characters = size = 0
    for encoded in run(work()):
        batch = under_way.popleft()
        sources = np.array(batch.sources, dtype=np.int64)
        writer.extend(batch.split, Block(*encoded, sources, np.array(batch.last)))
        characters += batch.characters
        size += int(encoded.sizes.sum())
        seconds = max(time.monotonic() - progress.began, 1e-9)
        progress.update(characters, speed=f"{size / 1e6 / seconds:.1f} MB/s")
