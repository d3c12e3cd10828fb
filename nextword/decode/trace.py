"""What a strategy considered, for whoever wants to see it: a list handed in (`Tools.trace`) gets these in order.

The kept candidates of one level of a beam search, in their order, are the parents of the next level: that is the tree.
"""

from dataclasses import dataclass
from typing import Literal

Fate = Literal["kept", "ended", "pruned"]


@dataclass(frozen=True)
class Candidate:
    """A token behind one of the texts that were kept at the last level, number `parent` (of its group).

    logprob: of the token. score: of the text with it, the sum of its tokens' log-probabilities (of one that ended,
    with the length penalty). fate: it goes on, it is a finished text, or it is dropped.
    """

    parent: int
    token: int
    logprob: float
    score: float
    fate: Fate


@dataclass(frozen=True)
class Level:
    """The candidates of one step of a beam search, best first; `row` numbers the requests, `place` the new tokens."""

    row: int
    place: int
    candidates: tuple[Candidate, ...]
    group: int = 0


@dataclass(frozen=True)
class Guessed:
    """Tokens that were guessed from new token `place` on, how many were accepted, and the token that came after these.

    Where not all were accepted, `token` stands in the place of the first that was not; where what was accepted
    completes what a constraint asks for, none comes after it, and `token` is its last.
    """

    row: int
    place: int
    tokens: tuple[int, ...]
    accepted: int
    token: int
