"""k-means: N vectors put into k clusters, each with a centre that is the mean of its vectors.

    inertia = Σ_i min_j ‖x_i − c_j‖²            what is made small, and never grows from one step to the next

A step gives every vector to its nearest centre and moves every centre to the mean of its own (Lloyd, "Least Squares
Quantization in PCM", 1982), until nothing changes. Where that ends depends on where it begins: the first centre is a
vector drawn at random, every further one a vector drawn with a probability proportional to the square of its distance
from the nearest centre so far, D² sampling, whose inertia is on average within 8 (ln k + 2) of the best that there is
(Arthur & Vassilvitskii, "k-means++: The Advantages of Careful Seeding", 2007). The best of several starts is kept.

    silhouette of i = (b_i − a_i) / max(a_i, b_i)      a_i: mean distance to the others of its own cluster
                                                       b_i: the smallest mean distance to those of another

It lies between −1 and 1 and is 0 for a cluster's only member; the mean over all says how well apart clusters are, and
so how many there should be (Rousseeuw, "Silhouettes", 1987).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from nextword.core.errors import SettingsError

CHUNK = 1 << 22  # numbers of a table of distances that are computed at once
JUDGED = 2000  # vectors that a silhouette is computed of; it grows with their square


@dataclass(frozen=True)
class Clusters:
    """centres_KD; of_N: the cluster of each vector; distances_N: to its centre; steps: of the start that was best."""

    centres_KD: Tensor
    of_N: Tensor
    distances_N: Tensor
    steps: int

    @property
    def inertia(self) -> float:
        """The sum of the squared distances, fp64."""
        return float(self.distances_N.double().square().sum())

    @property
    def sizes(self) -> list[int]:
        """How many vectors each cluster has."""
        found: list[int] = torch.bincount(self.of_N, minlength=len(self.centres_KD)).tolist()
        return found


def kmeans(x_ND: Tensor, k: int, generator: torch.Generator, *, starts: int = 10, most: int = 300) -> Clusters:
    """The best of `starts` runs, each of at most `most` steps, with the largest cluster first.

    SettingsError where there are fewer different vectors than clusters.
    """
    if not 1 <= k <= len(x_ND):
        raise SettingsError(f"k must be 1 to {len(x_ND)}, the number of vectors, received {k}")
    middle_D = x_ND.mean(0)  # distances of vectors that lie far from 0 would be rounded away
    runs = [lloyd(x_ND - middle_D, seeded(x_ND - middle_D, k, generator), most) for _ in range(starts)]
    best = min(runs, key=lambda run: run.inertia)
    order_K = torch.tensor(sorted(range(k), key=lambda one: (-best.sizes[one], one)))
    return Clusters(best.centres_KD[order_K] + middle_D, order_K.argsort()[best.of_N], best.distances_N, best.steps)


def seeded(x_ND: Tensor, k: int, generator: torch.Generator) -> Tensor:
    """The first centres_KD, by D² sampling; SettingsError where there are fewer different vectors."""
    places = [int(torch.randint(len(x_ND), (1,), generator=generator))]
    nearest_N = (x_ND - x_ND[places[0]]).square().sum(-1)  # exactly 0 for a vector that is there twice
    while len(places) < k:
        if not nearest_N.any():
            raise SettingsError(f"k is {k}, but only {len(places)} vectors are different: ask for fewer clusters")
        places.append(int(torch.multinomial(nearest_N.double(), 1, generator=generator)))
        nearest_N = torch.minimum(nearest_N, (x_ND - x_ND[places[-1]]).square().sum(-1))
    return x_ND[places]


def lloyd(x_ND: Tensor, centres_KD: Tensor, most: int) -> Clusters:
    """Steps until no vector changes its cluster; a cluster that lost all its vectors gets the farthest one."""
    of_N, steps = torch.full((len(x_ND),), -1), 0
    while steps < most:
        near_N, nearest_N = assigned(x_ND, centres_KD)
        for empty in (torch.bincount(near_N, minlength=len(centres_KD)) == 0).nonzero()[:, 0].tolist():
            several_N = torch.bincount(near_N, minlength=len(centres_KD))[near_N] > 1
            far = int(nearest_N.masked_fill(~several_N, -1.0).argmax())
            near_N[far], nearest_N[far] = empty, 0.0
        if torch.equal(near_N, of_N):
            break
        of_N, steps = near_N, steps + 1
        counts_K = torch.bincount(of_N, minlength=len(centres_KD))
        centres_KD = torch.zeros_like(centres_KD).index_add_(0, of_N, x_ND) / counts_K[:, None]
    return Clusters(centres_KD, of_N, (x_ND - centres_KD[of_N]).norm(dim=-1), steps)


def assigned(x_ND: Tensor, centres_KD: Tensor) -> tuple[Tensor, Tensor]:
    """The nearest centre of each vector, and the squared distance to it."""
    rows = max(1, CHUNK // len(centres_KD))
    parts = [x_ND[start : start + rows] for start in range(0, len(x_ND), rows)]
    found = [squared(part, centres_KD).min(-1) for part in parts]
    return torch.cat([one.indices for one in found]), torch.cat([one.values for one in found])


def squared(x_ND: Tensor, y_MD: Tensor) -> Tensor:
    """‖x_i − y_j‖², (N, M), by one product; never below 0."""
    return (x_ND.square().sum(-1)[:, None] - 2 * x_ND @ y_MD.T + y_MD.square().sum(-1)).clamp_(min=0.0)


def silhouette(x_ND: Tensor, of_N: Tensor, generator: torch.Generator, most: int = JUDGED) -> float:
    """The mean silhouette, of a sample of `most` vectors where there are more; SettingsError for a single cluster."""
    if len(x_ND) > most:
        kept = torch.randperm(len(x_ND), generator=generator)[:most]
        x_ND, of_N = x_ND[kept], of_N[kept]
    named, of_N = torch.unique(of_N, return_inverse=True)
    if len(named) < 2:  # noqa: PLR2004 - what is said of a cluster is said against another
        raise SettingsError("a silhouette needs two clusters: there is nothing that a single one could be apart from")
    member_NK = torch.nn.functional.one_hot(of_N).double()
    sums_NK = torch.cdist(x_ND.double(), x_ND.double()) @ member_NK
    counts_K = member_NK.sum(0)
    own_N1 = of_N[:, None]
    others_N = counts_K[of_N] - 1
    a_N = sums_NK.gather(1, own_N1)[:, 0] / others_N.clamp(min=1)
    b_N = (sums_NK / counts_K).scatter(1, own_N1, float("inf")).amin(1)
    apart_N = (b_N - a_N) / torch.maximum(a_N, b_N).clamp(min=torch.finfo(torch.float64).tiny)
    return float(torch.where(others_N > 0, apart_N, torch.zeros_like(apart_N)).mean())


def plane(x_ND: Tensor) -> Tensor:
    """The vectors in the plane in which they spread most, (N, 2): their first two principal components.

    The eigenvectors of the covariance with the largest eigenvalues (Pearson, 1901); of both directions of an axis the
    one in which its largest number is positive.
    """
    x_ND = x_ND.double() - x_ND.double().mean(0)
    axes_D2 = torch.linalg.eigh(x_ND.T @ x_ND).eigenvectors[:, -2:].flip(-1)
    largest_12 = axes_D2.abs().argmax(0, keepdim=True)
    found: Tensor = x_ND @ (axes_D2 * axes_D2.gather(0, largest_12).sign())
    return found
