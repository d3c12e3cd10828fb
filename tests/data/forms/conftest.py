"""Text in memory as documents of ids, and the special tokens of all forms."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch

from nextword.data.form import Row
from nextword.data.marks import Marks

FIRST, LAST = 10, 100  # the ids of ordinary text
SENTINELS = tuple(range(LAST, LAST + 32))
INFILL = (132, 133, 134)
SEP = 2


class Text:
    """Tokens in memory: documents of the given lengths, each with SEP at its end."""

    def __init__(self, lengths: Sequence[int], seed: int = 0) -> None:
        ends = np.cumsum(lengths)
        self.ids = np.random.default_rng(seed).integers(FIRST, LAST, int(ends[-1])).astype(np.uint16)
        self.ids[ends - 1] = SEP
        self.documents = np.stack([ends, ends, ends, np.zeros_like(ends)], 1)
        self.sources = ("made up",)

    def __len__(self) -> int:
        return len(self.ids)

    def read(self, start: int, stop: int) -> np.ndarray:
        assert 0 <= start <= stop <= len(self.ids)
        return self.ids[start:stop]


@pytest.fixture(scope="session")
def marks() -> Marks:
    """Ids of special tokens; those of text are 10 to 99."""
    return Marks(
        135, (*range(FIRST), *SENTINELS, *INFILL), cls=1, sep=SEP, mask=3, pad=0, bos=4, eos=SEP,
        sentinels=SENTINELS, infill=INFILL,
    )  # fmt: skip


@pytest.fixture(scope="session")
def documents() -> type[Text]:
    """`documents([3, 5])` is a text of documents of so many tokens."""
    return Text


@pytest.fixture(scope="session")
def p_value() -> Callable[..., float]:
    """Pearson's chi-squared test: the probability of counts at least this far from the expected ones (all alike)."""

    def test(counts: Sequence[float], expected: Sequence[float] | None = None) -> float:
        found = torch.tensor(np.asarray(counts), dtype=torch.float64)
        wanted = torch.full_like(found, float(found.mean())) if expected is None else torch.tensor(np.asarray(expected))
        statistic = ((found - wanted) ** 2 / wanted).sum()
        return float(torch.special.gammaincc(torch.tensor((len(found) - 1) / 2, dtype=torch.float64), statistic / 2))

    return test


@pytest.fixture(scope="session")
def rows() -> Callable[..., list[Row]]:
    """Rows of one random piece of so many tokens each."""

    def make(tokens: int, count: int, seed: int = 0) -> list[Row]:
        draw = np.random.default_rng(seed)
        pieces = draw.integers(FIRST, LAST, (count, tokens))
        return [Row((piece,), (seed, 0, number), ((0, tokens),)) for number, piece in enumerate(pieces)]

    return make
