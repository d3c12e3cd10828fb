"""Vectors for n-grams: what the last few tokens say together is looked up, not computed.

    x_t = E[w_t] + Σ_n G_n[h(w_{t−n+1} … w_t)]

A table of counts knows from its first page that "q" is followed by "u"; a network finds it out through several layers
and thousands of steps. A table of vectors, one for each n-gram, gives the network that knowledge for the price of a
lookup, whatever the table's size. Where there are too many n-grams each is hashed into one of `buckets` rows, and those
that meet there share a vector (Svenstrup et al., "Hash Embeddings", 2017; Huang et al., "Over-Tokenized Transformer",
2025; bigrams in modded-nanogpt, 2025). The tables start at 0, so that a fresh model is what it would be without them.
"""

import torch
from torch import Tensor, nn

from nextword.nn.init import empty_embedding, zeros

PRIME = 2**31 - 1  # hashes are polynomials modulo it: products stay within int64
MULTIPLIER = 1_000_003


class NgramEmbedding(nn.Module):
    """The sum of the vectors of the n-grams that end at each place, for every n of `orders` (2, 3, ...)."""

    def __init__(self, orders: tuple[int, ...], buckets: int, vocab_size: int, width: int) -> None:
        super().__init__()
        self.orders, self.nothing = orders, vocab_size  # `nothing` stands where a text has not begun
        self.sizes = [rows(order, buckets, vocab_size) for order in orders]
        self.tables = nn.ModuleList(empty_embedding(size, width) for size in self.sizes)

    def forward(self, history_BS: Tensor, places_BT: Tensor, positions_BT: Tensor) -> Tensor:
        """x_BTD for the tokens at `places_BT` of a history of ids; `positions_BT`: how far into its text each stands.

        places_BT and positions_BT are (B or 1, T).
        """
        keys = self.keys(history_BS, places_BT.expand(len(history_BS), -1), positions_BT)
        x_BTD = self.tables[0](keys[0])
        for key_BT, table in zip(keys[1:], self.tables[1:], strict=True):
            x_BTD = x_BTD + table(key_BT)
        return x_BTD

    def keys(self, history_BS: Tensor, places_BT: Tensor, positions_BT: Tensor) -> list[Tensor]:
        """The row of each order's table that belongs to each token, int64 (B, T)."""
        base, found = self.nothing + 1, []
        exact_BT = hash_BT = history_BS.gather(1, places_BT)
        power = 1
        for order in range(2, max(self.orders) + 1):
            back = order - 1
            earlier_BT = history_BS.gather(1, (places_BT - back).clamp(min=0))
            earlier_BT = torch.where(positions_BT >= back, earlier_BT, self.nothing)
            power *= base
            if power * base <= PRIME:
                exact_BT = exact_BT + power * earlier_BT
            hash_BT = (hash_BT * MULTIPLIER + earlier_BT + 1) % PRIME
            if order in self.orders:
                size = self.sizes[self.orders.index(order)]
                found.append(exact_BT if size == base**order else hash_BT % size)
        return found

    def initialise(self) -> None:
        """All vectors 0."""
        for table in self.tables:
            zeros(table.weight)


def rows(order: int, buckets: int, vocab_size: int) -> int:
    """The rows of a table: one for each n-gram where `buckets` suffice for all of them, else `buckets`."""
    return min(buckets, (vocab_size + 1) ** order)
