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
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np

from nextword.tokenizers.base import Tokenizer

TABLE_WORDS = 1 << 18  # when the table has more, it starts anew: some 40 MB
KNOWN_UNICODE = (16, 0)  # up to this version the library's classes are those of unicodedata (a test compares them all)
HIGH = "\U00010000-\U0010ffff"  # above the first plane
SPACES = "\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"  # Unicode's White_Space
PATTERN = "'(?:[stmd]|re|ve|ll)| ?{letters}| ?{numbers}| ?{others}|[{space}]+(?![^{space}])|[{space}]+"

Cut = Callable[[str], Iterable[str] | None]  # text -> its words; None: not known, ask the library


class WordTable:
    """Ids of texts as little-endian bytes, from a table of the words seen so far.

    The ids are those of `tokenizer.encode`; `dtype` is the type in which they are given. Without a `table` the
    tokenizer encodes whole texts, where it has something faster.
    """

    def __init__(self, tokenizer: Tokenizer, dtype: np.dtype[Any], table: bool = True) -> None:
        self.tokenizer, self.dtype = tokenizer, dtype
        self.cut = cut_of(tokenizer) if table else None
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
            try:
                row = b"".join(map(self.known.__getitem__, words))
            except KeyError:
                self._learn(set(words).difference(self.known))
                row = b"".join(map(self.known.__getitem__, words))
            rows.append(row)
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
    patterns = unicode_patterns()
    if patterns is None or patterns.unknown.search(text):
        return None
    pattern = patterns.all_planes if patterns.high.search(text) else patterns.first_plane
    return pattern.findall(text)


def _characters(text: str) -> str:
    return text


@cache
def ascii_pattern() -> re.Pattern[str]:
    """GPT-2's pattern for texts of ASCII alone."""
    space = "\t-\r "
    return re.compile(
        PATTERN.format(letters="[A-Za-z]+", numbers="[0-9]+", others=f"[^{space}A-Za-z0-9]+", space=space)
    )


class Patterns(NamedTuple):
    """GPT-2's pattern for texts of Unicode's first plane and for all, and what tells which text is which.

    A class of characters above U+FFFF is a list that `re` searches from its start, so it is tried only where there is
    such a character (and the whole pattern only where the text has one).
    """

    unknown: re.Pattern[str]
    high: re.Pattern[str]
    first_plane: re.Pattern[str]
    all_planes: re.Pattern[str]


@cache
def unicode_patterns() -> Patterns | None:
    """The patterns from this Python's tables; None when it is newer than what has been compared with the library."""
    version = tuple(map(int, unicodedata.unidata_version.split(".")[:2]))
    if version > KNOWN_UNICODE:
        return None
    low, high = classes(0, 0x10000), classes(0x10000, 0x110000)
    letters, numbers = low["L"], low["N"]
    first = PATTERN.format(
        letters=f"[{letters}]+", numbers=f"[{numbers}]+", others=f"[^{SPACES}{letters}{numbers}]+", space=SPACES
    )
    others = f"[^{SPACES}{letters}{numbers}{HIGH}]+|(?=[{HIGH}])[^{high['L']}{high['N']}]"
    every = PATTERN.format(
        letters=f"(?:[{letters}]+|(?=[{HIGH}])[{high['L']}])+",
        numbers=f"(?:[{numbers}]+|(?=[{HIGH}])[{high['N']}])+",
        others=f"(?:{others})+",
        space=SPACES,
    )
    unknown = f"[{low['?']}]|(?=[{HIGH}])[{high['?']}]"
    return Patterns(re.compile(unknown), re.compile(f"[{HIGH}]"), re.compile(first), re.compile(every))


def classes(first: int, stop: int) -> dict[str, str]:
    """Letters "L", numbers "N" and unassigned "?" among the characters first ... stop - 1, as the inside of []."""
    runs: dict[str, str] = {"L": "", "N": "", "?": ""}
    for category, group in groupby(map(unicodedata.category, map(chr, range(first, stop)))):
        after = first + sum(1 for _ in group)
        name = "?" if category in {"Cn", "Cs"} else category[0]
        if name in runs:
            runs[name] += f"\\U{first:08x}-\\U{after - 1:08x}"
        first = after
    return runs
