"""A text under a grammar: which tokens may follow what was generated.

What is allowed follows from the tokens taken so far, so a guide can be copied (beams) and take tokens back
(speculation). The end is allowed exactly where the text may end. A token that the grammar does not allow can come only
as a guess that will be refused; from there on anything is allowed until it is taken back.
"""

from copy import copy
from typing import Any

import numpy as np


class Guide:
    """A matcher of llguidance that has read the new tokens of one text."""

    def __init__(self, matcher: Any, vocab_size: int, eos_ids: frozenset[int]) -> None:
        self.matcher, self.vocab_size, self.eos_ids = matcher, vocab_size, eos_ids
        self.beyond = 0  # tokens from the end on, or from one that is not allowed
        self.ended = False  # whether the first of these is an end token
        self._allowed: np.ndarray | None = None

    @property
    def allowed(self) -> np.ndarray:
        """Which tokens may come next (V), bool."""
        if self.beyond:
            return np.ones(self.vocab_size, dtype=bool)
        if self._allowed is None:
            bits = np.frombuffer(self.matcher.compute_bitmask(), dtype=np.uint8)
            self._allowed = np.unpackbits(bits, count=self.vocab_size, bitorder="little").view(bool)
            if self.matcher.is_error():  # no token continues the text: the library would then allow the end
                self._allowed[:] = False
        return self._allowed

    @property
    def complete(self) -> bool:
        """Whether the text, without an end token, satisfies the grammar."""
        return bool((self.ended or not self.beyond) and self.matcher.is_accepting())

    @property
    def finished(self) -> bool:
        """Whether the text satisfies the grammar and nothing but the end can follow."""
        return self.complete and int(self.allowed.sum()) == sum(self.allowed[list(self.eos_ids)])

    def push(self, token: int) -> None:
        """Takes a token."""
        if not self.beyond:
            self._allowed = None
            self.ended = token in self.eos_ids
            if not self.ended and self.matcher.try_consume_tokens([token]):
                return
        self.beyond += 1

    def rewind(self, count: int) -> None:
        """Takes the last `count` tokens back."""
        back = min(count, self.beyond)
        self.beyond -= back
        self.ended = self.ended and self.beyond > 0
        if count > back:
            self.matcher.rollback(count - back)
        self._allowed = None

    def fork(self) -> "Guide":
        """A copy that goes its own way."""
        other = copy(self)
        other.matcher = self.matcher.deep_copy()
        return other
