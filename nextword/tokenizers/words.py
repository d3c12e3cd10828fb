r"""Encoding by a table of words, for tokenizers that cut a text into words first: the same ids, several times faster.

A byte-level tokenizer cuts with GPT-2's pattern and then encodes each word by itself, so the ids of a text are the ids
of its words one after the other. Most words have been seen before, and for these a table does. The pattern is

    's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+

Python's `re` has no \p{L}, so the classes are written out from `unicodedata`. A text with characters that this Python
does not know (they may be letters to the library) goes to the library, as do the words that are not yet in the table.
Where tokens never hold more than a character (kinds character and byte), the words are the characters.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Any

import numpy as np

from nextword.tokenizers.base import Tokenizer

TABLE_WORDS = 1 << 18  # when the table has more, it starts anew: some 40 MB
KNOWN_UNICODE = (16, 0)  # up to this version the library's classes are those of unicodedata (a test compares them all)
SPACES = "\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"  # Unicode's White_Space
PATTERN = (
    "'(?:[stmd]|re|ve|ll)| ?[{letter}]+| ?[{number}]+| ?[^{space}{letter}{number}]+|[{space}]+(?![^{space}])|[{space}]+"
)

Cut = Callable[[str], Iterable[str] | None]  # text -> its words; None: not known, ask the library


class WordTable:
    """Ids of texts as little-endian bytes, from a table of the words seen so far.

    The ids are those of `tokenizer.encode`; `dtype` is the type in which they are given.
    """

    def __init__(self, tokenizer: Tokenizer, dtype: np.dtype[Any]) -> None:
        self.tokenizer, self.dtype = tokenizer, dtype
        self.cut = cut_of(tokenizer)
        self.known: dict[str, bytes] = {}

    def encode_batch(self, texts: Sequence[str]) -> list[bytes]:
        """The ids of each text; DataError when one is not valid Unicode."""
        cuts = [self.cut(text) if self.cut is not None else None for text in texts]
        plain = [text for text, words in zip(texts, cuts, strict=True) if words is None]
        others = iter(self.tokenizer.encode_batch(plain)) if plain else iter(())
        rows = []
        for words in cuts:
            if words is None:
                rows.append(np.array(next(others), dtype=self.dtype).tobytes())
                continue
            new = set(words).difference(self.known)
            if new:
                self._learn(new)
            rows.append(b"".join(map(self.known.__getitem__, words)))
        return rows

    def forget(self) -> None:
        """Empties a table that has grown too large; to be called between texts."""
        if len(self.known) > TABLE_WORDS:
            self.known = {}

    def _learn(self, words: Iterable[str]) -> None:
        listed = list(words)
        for word, ids in zip(listed, self.tokenizer.encode_batch(listed), strict=True):
            self.known[word] = np.array(ids, dtype=self.dtype).tobytes()


def cut_of(tokenizer: Tokenizer) -> Cut | None:
    """How this tokenizer cuts texts into words; None when that is not known here."""
    spec = tokenizer.spec
    if spec["normalizer"] is not None or any(not token["special"] for token in spec["added_tokens"]):
        return None
    if spec["model"].get("dropout"):
        return None
    match spec["pre_tokenizer"]:
        case {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}:
            return gpt2_words
        case {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False} if not spec["model"].get("merges"):
            return _characters
        case {"type": "Split", "pattern": {"Regex": r"[\s\S]"}, "behavior": "Isolated", "invert": False}:
            return _characters
    return None


def gpt2_words(text: str) -> list[str] | None:
    """The words of `text` by GPT-2's pattern; None when it holds a character that this Python does not know."""
    if text.isascii():
        return ascii_pattern().findall(text)
    pattern, unknown = unicode_patterns()
    if pattern is None or unknown.search(text):
        return None
    return pattern.findall(text)


def _characters(text: str) -> str:
    return text


@cache
def ascii_pattern() -> re.Pattern[str]:
    """GPT-2's pattern for texts of ASCII alone."""
    return re.compile(PATTERN.format(letter="A-Za-z", number="0-9", space="\t-\r "))


@cache
def unicode_patterns() -> tuple[re.Pattern[str] | None, re.Pattern[str]]:
    """GPT-2's pattern for all characters that this Python knows, and a pattern of those that it does not.

    No pattern when this Python is newer than what has been compared with the library.
    """
    letter, number, unknown = ranges("L"), ranges("N"), ranges("Cn", "Cs")
    outside = re.compile(f"[{unknown}]")
    version = tuple(map(int, unicodedata.unidata_version.split(".")[:2]))
    if version > KNOWN_UNICODE:
        return None, outside
    return re.compile(PATTERN.format(letter=letter, number=number, space=SPACES)), outside


def ranges(*categories: str) -> str:
    """The characters whose Unicode category begins with one of `categories`, as the inside of a pattern's []."""
    category = unicodedata.category
    found: list[tuple[int, int]] = []
    for number in range(0x110000):
        if category(chr(number)).startswith(categories):
            if found and found[-1][1] == number - 1:
                found[-1] = (found[-1][0], number)
            else:
                found.append((number, number))
    return "".join(f"\\U{first:08x}-\\U{last:08x}" for first, last in found)
