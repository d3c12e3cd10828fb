"""Whose each block of a paged cache is, and which blocks hold what many texts begin with.

A block that is full gets a name: the hash of its tokens and of the name of the block before it. So a name stands for
a whole beginning, and a text whose first blocks have known names shares them and need not read those tokens (prefix
caching; Kwon et al., "PagedAttention", 2023, and vLLM). Blocks count who uses them. One that nobody uses any more
keeps its name and content until its place is needed; of those, what was used longest ago goes first.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Sequence

import numpy as np

NAME_BYTES = 16  # of a cryptographic hash: nobody can make a text that is taken for another


def names(ids: Sequence[int], size: int, before: bytes = b"") -> list[bytes]:
    """The names of the full blocks of a text; `before`: of the block before them.

    >>> names([1, 2, 3, 4, 5], 2) == names([1, 2, 3, 4], 2)
    True
    >>> names([1, 2, 3, 4], 2)[1] == names([9, 2, 3, 4], 2)[1]
    False
    """
    found = []
    for start in range(0, len(ids) - size + 1, size):
        content = np.asarray(ids[start : start + size], dtype=np.int64).tobytes()
        before = hashlib.blake2b(before + content, digest_size=NAME_BYTES).digest()
        found.append(before)
    return found


class Blocks:
    """The blocks of a pool by number."""

    def __init__(self, count: int, size: int) -> None:
        self.count, self.size = count, size
        self.users = [0] * count
        self.name_of: list[bytes | None] = [None] * count
        self.named: dict[bytes, int] = {}
        self.unused: OrderedDict[int, None] = OrderedDict.fromkeys(range(count))  # the one to take next first

    @property
    def free(self) -> int:
        """How many blocks could be taken."""
        return len(self.unused)

    def take(self) -> int:
        """A block of one's own; what it held is forgotten. Only while there are free ones."""
        number, _ = self.unused.popitem(last=False)
        if (name := self.name_of[number]) is not None:
            del self.named[name]
            self.name_of[number] = None
        self.users[number] = 1
        return number

    def share(self, name: bytes) -> int | None:
        """The block of that name, with one user more; None where there is none."""
        number = self.named.get(name)
        if number is not None:
            self.users[number] += 1
            self.unused.pop(number, None)
        return number

    def used(self, named: Sequence[bytes]) -> int:
        """How many of the first blocks of these names somebody uses, so that sharing them takes no place."""
        count = 0
        for name in named:
            number = self.named.get(name)
            if number is None or not self.users[number]:
                break
            count += 1
        return count

    def keep(self, number: int, name: bytes) -> None:
        """Names a block that is full. Where another has the name already, this one stays without."""
        if name not in self.named:
            self.named[name], self.name_of[number] = number, name

    def leave(self, numbers: Sequence[int]) -> None:
        """One user less. A text's last blocks are the first to be taken: a beginning is of more use than an end."""
        for number in reversed(numbers):
            self.users[number] -= 1
            if not self.users[number]:
                self.unused[number] = None
                if self.name_of[number] is None:
                    self.unused.move_to_end(number, last=False)  # it holds nothing that anyone could look for
