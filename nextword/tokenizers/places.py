"""Where in a text its tokens stand, in characters and in bytes of UTF-8.

A token of a byte-level vocabulary may be a part of a character: its bytes are exact, its characters are all that it has
a part in. Where the tokenizer changes the text first (lower case, Unicode forms) a place is that of what it was made
from, and the bytes are those of the characters.
"""

from itertools import accumulate
from typing import NamedTuple

from nextword.tokenizers.base import Tokenizer


class Place(NamedTuple):
    """A token: its id, its characters text[start:end], and its bytes text.encode()[first_byte:last_byte]."""

    id: int
    start: int
    end: int
    first_byte: int
    last_byte: int


def places(tokenizer: Tokenizer, text: str) -> list[Place]:
    """Every token of a text with its place. DataError for text that is not valid Unicode."""
    ids = tokenizer.encode(text)  # checks the text, too
    offsets: list[tuple[int, int]] = tokenizer.inner.encode(text, add_special_tokens=False).offsets
    spelled = text.encode()
    spelling = [tokenizer.token_bytes(number) for number in ids]
    if tokenizer.is_byte_level and b"".join(spelling) == spelled:
        ends = list(accumulate(len(part) for part in spelling))
        return [
            Place(number, *span, end - len(part), end)
            for number, span, part, end in zip(ids, offsets, spelling, ends, strict=True)
        ]
    bytes_before = list(accumulate((len(letter.encode()) for letter in text), initial=0))
    return [
        Place(number, start, end, bytes_before[start], bytes_before[end])
        for number, (start, end) in zip(ids, offsets, strict=True)
    ]
