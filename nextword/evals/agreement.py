"""How well two ways to group the same things agree, such as clusters and labels; the names of groups do not matter.

With n_uv the number of things that are in group u of one and v of the other, n_u and n_v the sizes, N their sum:

    NMI = I(U; V) / ((H(U) + H(V)) / 2)                     normalised mutual information, 0 to 1
    I(U; V) = Σ_uv n_uv/N · ln(N n_uv / (n_u n_v))          H(U) = − Σ_u n_u/N · ln(n_u/N)

    ARI = (Σ_uv C(n_uv, 2) − E) / ((A + B)/2 − E)           adjusted Rand index, 1 where both are the same, on average 0
    A = Σ_u C(n_u, 2)   B = Σ_v C(n_v, 2)   E = A B / C(N, 2)       by chance; C(n, 2) = n (n − 1)/2 pairs

NMI (Strehl & Ghosh, "Cluster Ensembles", 2002; the mean in its denominator as in V-measure, Rosenberg & Hirschberg,
2007) grows with the number of clusters even by chance, the ARI does not (Hubert & Arabie, "Comparing Partitions",
1985). Where both are one group each, they are the same: 1.
"""

import math
from collections import Counter
from collections.abc import Hashable, Sequence

from nextword.core.errors import SettingsError

Groups = Sequence[Hashable]


def nmi(first: Groups, second: Groups) -> float:
    """Normalised mutual information, in [0, 1]."""
    both, ones, others, total = counted(first, second)
    if len(ones) == len(others) == 1:
        return 1.0
    mutual = sum(n / total * math.log(total * n / (ones[u] * others[v])) for (u, v), n in both.items())
    mean = (entropy(ones, total) + entropy(others, total)) / 2
    return max(0.0, mutual / mean)


def ari(first: Groups, second: Groups) -> float:
    """The adjusted Rand index: 1 at most, about 0 by chance, and below it for less than chance."""
    both, ones, others, total = counted(first, second)
    same, a, b = (sum(map(pairs, found.values())) for found in (both, ones, others))
    chance = a * b / pairs(total) if total > 1 else 0.0
    most = (a + b) / 2
    return 1.0 if most == chance else (same - chance) / (most - chance)


def counted(
    first: Groups, second: Groups
) -> tuple[Counter[tuple[Hashable, Hashable]], Counter[Hashable], Counter[Hashable], int]:
    """How many things are in each pair of groups, in each group of one and of the other, and in all."""
    if not first or len(first) != len(second):
        raise SettingsError(f"both must group the same things, at least one: received {len(first)} and {len(second)}")
    return Counter(zip(first, second, strict=True)), Counter(first), Counter(second), len(first)


def entropy(counts: Counter[Hashable], total: int) -> float:
    """H in nats."""
    return -sum(n / total * math.log(n / total) for n in counts.values())


def pairs(count: int) -> float:
    """C(n, 2)."""
    return count * (count - 1) / 2
