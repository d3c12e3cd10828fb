"""Texts as windows that a model can read: each token is scored once, with as much context as the model allows.

A text of ids x₀ x₁ ... (x₀ begins it and is not scored) that fits into the context is one window. A longer one is
read in windows that overlap: the first scores all its tokens, each later one only those that are new, which so have
at least the overlap as context.

    context 4, overlap 2, text ^ a b c d e f:   ^ a b c → a b c d      b c d e → · · e f   (· is context only)
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from nextword.core.records import Document
from nextword.data.shards import BYTES, END, SOURCE, WORDS, Tokens
from nextword.tokenizers.base import Tokenizer

UNLIMITED_WINDOW = 1 << 16  # tokens read at once by a model without a limit (an LSTM, an n-gram), for memory's sake
UNLIMITED_OVERLAP = 1 << 10
ENCODED_AT_ONCE = 256  # documents that the tokenizer gets together
ENCODED_CHARACTERS = 1 << 22


@dataclass(frozen=True)
class Text:
    """What is to be scored: ids, of which the first only begins the text; its source, UTF-8 bytes and words."""

    ids: list[int]
    source: str
    bytes: int
    words: int


@dataclass(frozen=True)
class Window:
    """A piece of a text. ids: the model reads all but the last and predicts all but the first.

    The first `context` predictions are not scored. `number` is that of the text, `first` true for its first window.
    """

    ids: list[int]
    context: int
    text: Text
    number: int = 0
    first: bool = True

    @property
    def scored(self) -> int:
        """How many tokens it scores."""
        return len(self.ids) - 1 - self.context


def cut(text: Text, number: int, max_length: int | None, overlap: float) -> Iterator[Window]:
    """The windows of one text; `overlap` is a share of `max_length`."""
    ids = text.ids
    length = max_length or UNLIMITED_WINDOW
    shared = min(int(length * overlap), length - 1) if max_length else UNLIMITED_OVERLAP
    if len(ids) > 1:
        yield Window(ids[: length + 1], 0, text, number)
    done = length + 1  # ids up to here are scored
    while done < len(ids):
        begin = done - 1 - shared
        yield Window(ids[begin : begin + length + 1], shared, text, number, first=False)
        done = begin + length + 1


def texts_of_documents(documents: Iterable[Document], tokenizer: Tokenizer, score_end: bool) -> Iterator[Text]:
    """Documents as texts: after the token that begins a text, if the tokenizer has one, and with the end if wanted."""
    begin = [] if tokenizer.bos_id is None else [tokenizer.bos_id]
    end = [tokenizer.eos_id] if score_end and tokenizer.eos_id is not None else []
    for batch in _batches(documents):
        encoded = tokenizer.encode_batch([document.text for document in batch])
        for document, ids in zip(batch, encoded, strict=True):
            size = len(document.text.encode())
            yield Text([*begin, *ids, *end], document.source, size, len(document.text.split()))


def _batches(documents: Iterable[Document]) -> Iterator[list[Document]]:
    batch: list[Document] = []
    size = 0
    for document in documents:
        batch.append(document)
        size += len(document.text)
        if len(batch) == ENCODED_AT_ONCE or size > ENCODED_CHARACTERS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def texts_of_tokens(tokens: Tokens, begin: int | None, score_end: bool) -> Iterator[Text]:
    """The documents of a token file as texts, after the token `begin`."""
    start = 0
    for row in tokens.documents:
        end = int(row[END])
        ids = [] if begin is None else [begin]
        ids += tokens.read(start, end if score_end else end - 1).tolist()
        yield Text(ids, tokens.sources[int(row[SOURCE])], int(row[BYTES]), int(row[WORDS]))
        start = end


def texts_of_stream(tokens: Tokens, length: int) -> Iterator[Text]:
    """The token stream in windows of `length` predictions, document borders or not, each read without what is before.

    Bytes and words are those of the whole split, given to the first window (they only matter in sum).
    """
    for start in range(0, len(tokens) - 1, length):
        ids = tokens.read(start, min(start + length + 1, len(tokens))).tolist()
        yield Text(ids, "stream", *((tokens.bytes, tokens.words) if start == 0 else (0, 0)))
