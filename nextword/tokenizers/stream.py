"""Tokens to text while they arrive: what is given out is final, and never a part of a character.

A token of a byte-level vocabulary may end in the middle of a character: its bytes wait until the character is
complete. For every sequence of ids, the pieces that `push` gives and the rest from `flush` are together what `decode`
gives at once.
"""

import codecs
from collections.abc import Callable, Sequence
from typing import Protocol


class StreamDecoder(Protocol):
    """Turns ids into text one by one."""

    def push(self, token: int) -> str:
        """The text that has become certain with this id; may be empty."""
        ...

    def flush(self) -> str:
        """The rest, when no more ids come: an incomplete character becomes U+FFFD."""
        ...


class ByteStream:
    """For byte-level vocabularies: joins the bytes of tokens and decodes them as they become whole characters."""

    def __init__(self, token_bytes: Callable[[int], bytes]) -> None:
        self.token_bytes = token_bytes
        self.utf8 = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def push(self, token: int) -> str:
        """The characters that this token completes."""
        return self.utf8.decode(self.token_bytes(token))

    def flush(self) -> str:
        """U+FFFD for a character that was begun and not completed, else nothing."""
        rest = self.utf8.decode(b"", final=True)
        self.utf8.reset()
        return rest


class WindowStream:
    """For the other vocabularies: decodes a short window of the last ids, and gives what is new in it.

    The window begins with an id whose text is out already, since whether a token starts with a space depends on there
    being one before it. Ids for which `waits` is true (bytes that stand for a character unknown to the vocabulary) are
    kept until another kind of token ends their run, since only the whole run says which characters they are. Ids for
    which `silent` is true have no text and are passed over.
    """

    def __init__(
        self,
        decode: Callable[[Sequence[int]], str],
        waits: Callable[[int], bool],
        silent: Callable[[int], bool],
    ) -> None:
        self.decode, self.waits, self.silent = decode, waits, silent
        self.window: list[int] = []
        self.out = 0  # characters of the window's text that are out already

    def push(self, token: int) -> str:
        """What this id adds, or nothing while it waits."""
        if self.silent(token):
            return ""
        self.window.append(token)
        return "" if self.waits(token) else self._advance()

    def flush(self) -> str:
        """What is still waiting."""
        rest = self._advance() if self.window else ""
        self.window, self.out = [], 0
        return rest

    def _advance(self) -> str:
        new = self.decode(self.window)[self.out :]
        self.window = self.window[-1:]
        self.out = len(self.decode(self.window))
        return new
