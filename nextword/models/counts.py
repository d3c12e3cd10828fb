"""Counts of token sequences in sorted tables, made by a few passes over a file that memory need not hold.

The k-grams of a text are numbered in sorted order. A k-gram is stored as one integer, key = (number of its first k − 1
tokens among the (k − 1)-grams) · V + last token; so the k-grams that continue one context lie side by side, and looking
up is bisection. One pass counts one length: chunks are sorted and counted, and the tables of chunks merged.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from nextword.core.errors import DataError

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

CHUNK_TOKENS = 1 << 22  # tokens that are sorted at once: about 200 MB of working memory
MERGE_ENTRIES = 1 << 23  # entries of chunks that wait before they are merged into the table


class TokenSource(Protocol):
    """Ids in a row, read in pieces (the token files of `nextword.data` are such a source)."""

    def __len__(self) -> int:
        """The number of ids."""
        ...

    def read(self, start: int, stop: int) -> NDArray[Any]:
        """The ids at start ... stop - 1."""
        ...


@dataclass
class Counts:
    """keys[k-1] and counts[k-1] describe the k-grams; those of one token are all V, in order, some with count 0.

    Derived: starts[k-1][h] is where the k-grams that continue context number h begin, sums[k-1] the running sum of
    counts; context number 0 of k = 1 is the empty one.
    """

    vocab_size: int
    keys: list[Ints]
    counts: list[Ints]
    starts: list[Ints] = field(init=False)
    sums: list[Ints] = field(init=False)

    def __post_init__(self) -> None:
        contexts = [1, *(len(keys) for keys in self.keys[:-1])]
        self.starts = [
            np.searchsorted(keys, np.arange(count + 1, dtype=np.int64) * self.vocab_size)
            for keys, count in zip(self.keys, contexts, strict=True)
        ]
        self.sums = [np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)]) for counts in self.counts]

    @classmethod
    def empty(cls, vocab_size: int, order: int) -> "Counts":
        """No counts at all."""
        none = [np.empty(0, np.int64) for _ in range(order - 1)]
        return cls(vocab_size, [np.arange(vocab_size), *none], [np.zeros(vocab_size, np.int64), *none])

    @classmethod
    def of_tables(cls, tables: Mapping[str, NDArray[Any]], vocab_size: int) -> "Counts":
        """Counts from the tables that `tables` gives."""
        longer = range(2, len(tables) // 2 + 2)
        keys = [np.arange(vocab_size), *(tables[f"keys_{k}"] for k in longer)]
        return cls(vocab_size, keys, [tables["counts_1"], *(tables[f"counts_{k}"] for k in longer)])

    def tables(self) -> dict[str, Ints]:
        """Everything that a file must hold, by name; the keys of single tokens are their ids and need not be stored."""
        named = {"counts_1": self.counts[0]}
        for k in range(2, len(self.keys) + 1):
            named |= {f"keys_{k}": self.keys[k - 1], f"counts_{k}": self.counts[k - 1]}
        return named

    def problem(self) -> str | None:
        """What is wrong with tables that were read from a file; None when nothing is."""
        for k, (keys, counts) in enumerate(zip(self.keys, self.counts, strict=True), 1):
            if len(keys) > 1 and not (np.diff(keys) > 0).all():
                return f"the keys of its {k}-grams are not sorted"
            if len(counts) and counts.min() < (0 if k == 1 else 1):
                return f"a {k}-gram has the count {counts.min()}"
            if k > 1 and len(keys) and (keys[0] < 0 or keys[-1] >= len(self.keys[k - 2]) * self.vocab_size):
                return f"a {k}-gram continues a context that does not exist"
        return None

    def number(self, k: int, context_N: Ints, token_N: NDArray[Any]) -> Ints:
        """The number of the k-gram (context number, token) among the k-grams, −1 where it was never seen."""
        if k == 1:
            return np.where(context_N < 0, -1, token_N)
        keys, wanted_N = self.keys[k - 1], context_N * self.vocab_size + token_N
        if not len(keys):
            return np.full(len(wanted_N), -1, np.int64)
        place_N = np.minimum(np.searchsorted(keys, wanted_N), len(keys) - 1)
        return np.where((keys[place_N] == wanted_N) & (context_N >= 0), place_N, -1)

    def contexts(self, hidden_ND: Ints) -> Iterator[tuple[int, Ints]]:
        """For k = 1, 2, ...: the number of the context of k − 1 tokens among its like, −1 where it was never seen."""
        rows, reach = hidden_ND.shape
        yield 1, np.zeros(rows, np.int64)
        for length in range(1, reach + 1):
            number_N = np.zeros(rows, np.int64)
            for k in range(1, length + 1):
                token_N = hidden_ND[:, reach - length + k - 1]
                number_N = self.number(k, np.where(token_N < 0, -1, number_N), token_N)
            yield length + 1, number_N

    def spread(self, k: int, context_N: Ints) -> tuple[Ints, Ints]:
        """c(h), how often something followed each context, and T(h), how many different tokens did; 0 where unseen."""
        known_N = np.maximum(context_N, 0)
        first_N, last_N = self.starts[k - 1][known_N], self.starts[k - 1][np.minimum(known_N + 1, self._last(k))]
        total_N = np.where(context_N < 0, 0, self.sums[k - 1][last_N] - self.sums[k - 1][first_N])
        if k == 1:
            return total_N, np.where(context_N < 0, 0, np.count_nonzero(self.counts[0]))
        return total_N, np.where(context_N < 0, 0, last_N - first_N)

    def _last(self, k: int) -> int:
        return len(self.starts[k - 1]) - 1

    def frequencies(self, hidden_ND: Ints, token_N: Ints) -> Floats:
        """c(h w) / c(h) of a context of any number of columns, without mixing; NaN where it was never followed.

        The denominator counts the occurrences of h that have a successor.
        """
        *_, (k, context_N) = self.contexts(hidden_ND)
        total_N, _ = self.spread(k, context_N)
        with np.errstate(invalid="ignore"):
            return self._count(k, context_N, token_N) / total_N

    def probabilities(self, hidden_ND: Ints, token_N: Ints) -> Floats:
        """P(token | context), (N,); see `nextword.models.ngram` for the formula."""
        p_N = np.full(len(token_N), 1 / self.vocab_size)
        for k, context_N in self.contexts(hidden_ND):
            total_N, kinds_N = self.spread(k, context_N)
            mixed_N = (self._count(k, context_N, token_N) + kinds_N * p_N) / np.maximum(total_N + kinds_N, 1)
            p_N = np.where(total_N > 0, mixed_N, p_N)
        return p_N

    def distributions(self, hidden_ND: Ints) -> Floats:
        """P(· | context) over the whole vocabulary, (N, V)."""
        p_NV = np.full((len(hidden_ND), self.vocab_size), 1 / self.vocab_size)
        for k, context_N in self.contexts(hidden_ND):
            total_N, kinds_N = self.spread(k, context_N)
            seen_N = np.flatnonzero(total_N > 0)
            weight_N = total_N[seen_N] + kinds_N[seen_N]
            p_NV[seen_N] *= (kinds_N[seen_N] / weight_N)[:, None]
            first_N = self.starts[k - 1][context_N[seen_N]]
            size_N = self.starts[k - 1][context_N[seen_N] + 1] - first_N
            entry = np.repeat(first_N - np.cumsum(size_N) + size_N, size_N) + np.arange(size_N.sum())
            token = self.keys[k - 1][entry] % self.vocab_size
            p_NV[np.repeat(seen_N, size_N), token] += self.counts[k - 1][entry] / np.repeat(weight_N, size_N)
        return p_NV

    def _count(self, k: int, context_N: Ints, token_N: Ints) -> Ints:
        number_N = self.number(k, context_N, token_N)
        if not len(self.counts[k - 1]):
            return np.zeros(len(number_N), np.int64)
        return np.where(number_N < 0, 0, self.counts[k - 1][np.maximum(number_N, 0)])


def count_tokens(tokens: TokenSource, vocab_size: int, order: int, eos_id: int | None) -> Counts:
    """The counts of all sequences of up to `order` tokens that do not reach over an end of document.

    An end may be the first or the last token of a sequence, never one between. DataError for an id outside of V.
    """
    counts_V = np.zeros(vocab_size, np.int64)
    for start in range(0, len(tokens), CHUNK_TOKENS):
        ids = tokens.read(start, min(start + CHUNK_TOKENS, len(tokens)))
        if int(ids.max()) >= vocab_size:
            raise DataError(f"the tokens hold the id {int(ids.max())}, but the vocabulary has {vocab_size} entries")
        counts_V += np.bincount(ids, minlength=vocab_size)
    known = Counts(vocab_size, [np.arange(vocab_size)], [counts_V])
    for k in range(2, order + 1):
        keys, counts = _merged(_counted(tokens, k, known, eos_id))
        known = Counts(vocab_size, [*known.keys, keys], [*known.counts, counts])
    return known


def _counted(tokens: TokenSource, k: int, known: Counts, eos_id: int | None) -> Iterator[tuple[Ints, Ints]]:
    """Sorted keys of k-grams and their counts, chunk by chunk; `known` holds all shorter lengths."""
    for start in range(k - 1, len(tokens), CHUNK_TOKENS):
        stop = min(start + CHUNK_TOKENS, len(tokens))
        ids = tokens.read(start - k + 1, stop).astype(np.int64)
        size = stop - start
        number = ids[:size]
        inside = np.ones(size, bool)
        for place in range(1, k - 1):
            token = ids[place : place + size]
            if eos_id is not None:
                inside &= token != eos_id
            number = known.number(place + 1, number, token)
        keys = (number * known.vocab_size + ids[k - 1 :])[inside]
        yield np.unique(keys, return_counts=True)


def _merged(parts: Iterator[tuple[Ints, Ints]]) -> tuple[Ints, Ints]:
    """One table of all parts: equal keys become one, their counts are added."""
    waiting: list[tuple[Ints, Ints]] = [(np.empty(0, np.int64), np.empty(0, np.int64))]
    for part in parts:
        waiting.append(part)
        if sum(len(keys) for keys, _ in waiting[1:]) > MERGE_ENTRIES:
            waiting = [_sum(waiting)]
    return _sum(waiting)


def _sum(parts: list[tuple[Ints, Ints]]) -> tuple[Ints, Ints]:
    keys, counts = (np.concatenate(column) for column in zip(*parts, strict=True))
    order = np.argsort(keys, kind="stable")
    keys, counts = keys[order], counts[order]
    first = np.flatnonzero(np.concatenate([np.ones(min(len(keys), 1), bool), keys[1:] != keys[:-1]]))
    return keys[first], np.add.reduceat(counts, first) if len(first) else counts
