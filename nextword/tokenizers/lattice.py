"""All ways to cut texts into pieces, as one graph: nodes between characters, an arc for every piece that fits.

With log-probabilities of pieces, sums over all paths come from one sweep over the arcs (forward), and with another one
from the end (backward) the expected count of each piece:

    α(e) = log Σ over arcs s→e of exp(α(s) + log p)         β the same from the end
    count = exp(α(s) + log p + β(e) − α(end))

This is the E-step of Kudo (2018, section 3.2), after Baum and Welch. NumPy takes one step for all texts at once: arcs
that end at the first character of any text, then at the second, and so on.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

Array = np.ndarray


@dataclass(frozen=True)
class Substrings:
    """Substrings of texts: single characters first, then longer ones that occur often enough; and where they are.

    strings, weights: of each piece its characters and how often it occurs. texts, starts, pieces: of each occurrence
    the text, the place in it, and which piece it is.
    """

    strings: list[str]
    weights: Array
    texts: Array
    starts: Array
    pieces: Array

    @classmethod
    def of(cls, texts: Sequence[str], counts: Sequence[int], longest: int, least: int) -> "Substrings":
        """Those of up to `longest` characters that occur at least `least` times, a text counting `counts` times."""
        whole = "".join(texts)
        _, codes = np.unique(np.frombuffer(whole.encode("utf-32-le"), np.uint32), return_inverse=True)
        lengths = np.array([len(text) for text in texts])
        text_of, ends = np.repeat(np.arange(len(texts)), lengths), np.cumsum(lengths)
        times, alphabet = np.asarray(counts, np.float64), int(codes.max()) + 1
        at, ids, known = np.arange(len(whole)), codes, 0
        strings: list[str] = []
        weights, places, pieces = [], [], []
        for length in range(1, longest + 1):
            if length > 1:
                inside = at + length <= ends[text_of[at]]
                at, ids = at[inside], ids[inside]
                ids = ids * alphabet + codes[at + length - 1]
            if not len(at):
                break
            _, first, ids = np.unique(ids, return_index=True, return_inverse=True)
            weight = np.bincount(ids, times[text_of[at]])
            kept = (weight >= least) | (length == 1)
            strings += [whole[place : place + length] for place in at[first[kept]]]
            weights.append(weight[kept])
            of_kept = kept[ids]
            at, ids = at[of_kept], (np.cumsum(kept) - 1)[ids[of_kept]]
            places.append(at)
            pieces.append(ids + known)
            known += int(kept.sum())
        every = np.concatenate(places)
        starts = every - (ends - lengths)[text_of[every]]
        return cls(strings, np.concatenate(weights), text_of[every], starts, np.concatenate(pieces))


class Lattice:
    """The graph of some texts. lengths: of each. texts, starts, pieces: of each arc. widths: characters of a piece."""

    def __init__(self, lengths: Array, texts: Array, starts: Array, pieces: Array, widths: Array) -> None:
        self.lengths, self.texts, self.starts, self.pieces, self.widths = lengths, texts, starts, pieces, widths
        self.ends = np.cumsum(lengths + 1) - 1  # the last node of each text
        self.begins = self.ends - lengths
        self.source, offsets = self.begins[texts] + starts, starts + widths[pieces]
        self.target = self.begins[texts] + offsets
        self.onward = Sweep.over(self.source, self.target, offsets)
        self.back = Sweep.over(self.target, self.source, lengths[texts] - starts)

    def only(self, alive: Array) -> "Lattice":
        """The same without the arcs of pieces that are not alive."""
        kept = alive[self.pieces]
        return Lattice(self.lengths, self.texts[kept], self.starts[kept], self.pieces[kept], self.widths)

    def expected(self, logp: Array, counts: Array) -> Array:
        """How often each piece is expected to be used, a text counting `counts` times."""
        weight = logp[self.pieces]
        alpha = self.onward.run(weight, self.begins, len(self.ends) + self.lengths.sum())
        beta = self.back.run(weight, self.ends, len(alpha))
        share = np.exp(alpha[self.source] + weight + beta[self.target] - alpha[self.ends][self.texts])
        return np.bincount(self.pieces, share * counts[self.texts], len(logp))

    def best(self, logp: Array, but: Array) -> Array:
        """The largest log-probability of a way to cut each text; arcs `but` are left out."""
        weight = np.where(but, -np.inf, logp[self.pieces])
        found: Array = self.onward.run(weight, self.begins, len(self.ends) + self.lengths.sum(), best=True)[self.ends]
        return found


@dataclass(frozen=True)
class Sweep:
    """Arcs in the order in which sums pass through the graph.

    order: the arcs, those of a step side by side, and in it those into the same node. source: where they come from.
    steps: of each, its first and last arc, where in it a node's arcs begin, and the nodes.
    """

    order: Array
    source: Array
    steps: list[tuple[int, int, Array, Array]]

    @classmethod
    def over(cls, source: Array, target: Array, depth: Array) -> "Sweep":
        """Arcs from `source` to `target`, which is `depth` characters from where the sweep begins."""
        order = np.lexsort((target, depth))
        target, depth = target[order], depth[order]
        bounds = [0, *(np.flatnonzero(np.diff(depth)) + 1).tolist(), len(order)]
        steps = []
        for first, last in pairwise(bounds):
            heads = np.concatenate([[0], np.flatnonzero(np.diff(target[first:last])) + 1])
            steps.append((first, last, heads, target[first:last][heads]))
        return cls(order, source[order], steps)

    def run(self, weight: Array, begins: Array, nodes: int, *, best: bool = False) -> Array:
        """The log of the sum over all paths (best: of the likeliest) from `begins` to each node."""
        weight, found = weight[self.order], np.full(nodes, -np.inf)
        found[begins] = 0.0
        for first, last, heads, targets in self.steps:
            value = found[self.source[first:last]] + weight[first:last]
            top = np.maximum.reduceat(value, heads)
            if best:
                found[targets] = top
                continue
            spread = np.repeat(top, np.diff(np.append(heads, last - first)))
            found[targets] = top + np.log(np.add.reduceat(np.exp(value - spread), heads))
        return found
