"""k-means, silhouettes and the plane: by hand, against brute force, and against scikit-learn where it is installed."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nextword.core.errors import SettingsError
from nextword.evals.kmeans import assigned, kmeans, lloyd, plane, seeded, silhouette, squared


def drawn(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def points(seed: int, count: int, width: int) -> torch.Tensor:
    return torch.randn(count, width, generator=drawn(seed))


def inertia(x_ND: torch.Tensor, groups: tuple[int, ...]) -> float:
    found = 0.0
    for group in set(groups):
        members = x_ND[[place for place, one in enumerate(groups) if one == group]]
        found += float((members - members.mean(0)).square().sum())
    return found


@given(st.integers(0, 1000), st.integers(2, 3))
@settings(max_examples=10, deadline=None)
def test_the_best_of_all_partitions(seed: int, k: int) -> None:
    """Seven points: of all ways to group them none is better than what many starts find."""
    x_ND = points(seed, 7, 2)
    best = min(inertia(x_ND, groups) for groups in itertools.product(range(k), repeat=7) if len(set(groups)) == k)
    found = kmeans(x_ND, k, drawn(seed), starts=40)
    assert found.inertia == pytest.approx(best, rel=1e-4)
    assert sorted(found.sizes, reverse=True) == found.sizes and sum(found.sizes) == 7
    for number in range(k):
        torch.testing.assert_close(found.centres_KD[number], x_ND[found.of_N == number].mean(0))
    torch.testing.assert_close(found.distances_N, (x_ND - found.centres_KD[found.of_N]).norm(dim=1))


def test_by_hand() -> None:
    """0, 1, 9, 11 and 20 in two clusters: {0, 1} and {9, 11, 20} would cost 69.2, {0, 1, 9, 11} and {20} 96.8."""
    x_N1 = torch.tensor([[0.0], [1.0], [9.0], [11.0], [20.0]])
    found = kmeans(x_N1, 2, drawn(1))
    assert found.centres_KD[:, 0].tolist() == pytest.approx([40 / 3, 0.5])
    assert found.inertia == pytest.approx(0.5 + (13 / 3) ** 2 + (7 / 3) ** 2 + (20 / 3) ** 2)
    assert found.of_N.tolist() == [1, 1, 0, 0, 0]
    a, b = 1.0, (9 + 11 + 20) / 3
    first = (b - a) / b
    second = ((8 + 10 + 19) / 3 - 1) / ((8 + 10 + 19) / 3)
    others = []
    for own, far in (((2 + 11) / 2, 8.5), ((2 + 9) / 2, 10.5), ((11 + 9) / 2, 19.5)):
        others.append((far - own) / max(own, far))
    wanted = (first + second + sum(others)) / 5
    assert silhouette(x_N1, found.of_N, drawn(1)) == pytest.approx(wanted)


def test_steps_never_make_it_worse() -> None:
    x_ND = points(3, 200, 5)
    centres_KD = seeded(x_ND, 6, drawn(2))
    costs = [lloyd(x_ND, centres_KD, most).inertia for most in range(1, 12)]
    assert all(after <= before * (1 + 1e-6) for before, after in itertools.pairwise(costs))
    assert costs[-1] < costs[0]


def test_an_empty_cluster_gets_the_farthest_vector() -> None:
    """The third centre is so far that nobody is near it."""
    x_ND = torch.tensor([[0.0], [1.0], [10.0], [11.0], [30.0]])
    found = lloyd(x_ND, torch.tensor([[0.5], [10.5], [1000.0]]), 50)
    assert sorted(found.sizes) == [1, 2, 2]
    assert found.inertia == pytest.approx(1.0)


def test_first_centres_are_drawn_by_squared_distance() -> None:
    """From 0, with the others at 1 and 2: the second is 2 four times as often as 1."""
    x_N1 = torch.tensor([[0.0], [1.0], [2.0]])
    generator, counts = drawn(5), {1.0: 0, 2.0: 0}
    while sum(counts.values()) < 2000:
        first, second = seeded(x_N1, 2, generator)[:, 0].tolist()
        if first == 0.0:
            counts[second] += 1
    spread = math.sqrt(2000 * 0.8 * 0.2)
    assert abs(counts[2.0] - 1600) < 4 * spread


def test_far_from_zero_and_in_pieces() -> None:
    """Vectors near 1000 lose nothing to rounding; a table of distances that is cut up is the same."""
    x_ND = points(1, 300, 4)
    near, far = (kmeans(x_ND + shift, 5, drawn(4)) for shift in (0.0, 1000.0))
    assert torch.equal(near.of_N, far.of_N)
    centres_KD = x_ND[:7]
    whole = squared(x_ND.double(), centres_KD.double()).min(-1)
    of_N, distances_N = assigned(x_ND, centres_KD)
    assert torch.equal(of_N, whole.indices)
    torch.testing.assert_close(distances_N.double(), whole.values, rtol=1e-4, atol=1e-5)


def test_as_scikit_learn_has_it() -> None:
    cluster = pytest.importorskip("sklearn.cluster")
    metrics = pytest.importorskip("sklearn.metrics")
    x_ND = torch.cat([points(n, 60, 6) + 4 * torch.eye(6)[n] for n in range(3)])
    found = kmeans(x_ND, 3, drawn(1))
    theirs = cluster.KMeans(3, n_init=10, random_state=0).fit(x_ND.numpy())
    assert found.inertia == pytest.approx(theirs.inertia_, rel=1e-4)
    wanted = metrics.silhouette_score(x_ND.numpy(), found.of_N.numpy())
    assert silhouette(x_ND, found.of_N, drawn(0)) == pytest.approx(wanted, abs=1e-5)


def test_silhouettes_of_many_are_those_of_a_sample() -> None:
    x_ND = torch.cat([points(1, 500, 3), points(2, 500, 3) + 6])
    of_N = torch.arange(1000) // 500
    whole = silhouette(x_ND, of_N, drawn(1))
    assert silhouette(x_ND, of_N, drawn(1), most=200) == pytest.approx(whole, abs=0.03)
    assert silhouette(x_ND, of_N, drawn(1), most=200) != whole


def test_a_member_alone_counts_nothing() -> None:
    x_N1 = torch.tensor([[0.0], [1.0], [9.0]])
    wanted = ((9 - 1) / 9 + (8 - 1) / 8 + 0) / 3
    assert silhouette(x_N1, torch.tensor([4, 4, 2]), drawn(1)) == pytest.approx(wanted)


def test_the_plane_holds_the_largest_spreads() -> None:
    x_ND = points(6, 400, 5) * torch.tensor([1.0, 9.0, 0.1, 4.0, 0.5])
    found = plane(x_ND)
    spreads = torch.linalg.svdvals(x_ND.double() - x_ND.double().mean(0))
    assert found.norm(dim=0).tolist() == pytest.approx(spreads[:2].tolist())
    assert float((found[:, 0] @ found[:, 1]).abs()) < 1e-6
    assert torch.corrcoef(torch.stack([found[:, 0], x_ND[:, 1].double()]))[0, 1] > 0.99


def test_what_cannot_be_grouped_is_refused() -> None:
    twice = torch.tensor([[1.0, 2.0]]).expand(4, 2)
    with pytest.raises(SettingsError, match="k is 2, but only 1 vectors are different"):
        kmeans(twice, 2, drawn(0))
    with pytest.raises(SettingsError, match="k must be 1 to 4"):
        kmeans(twice, 5, drawn(0))
    with pytest.raises(SettingsError, match="a silhouette needs two clusters"):
        silhouette(points(1, 5, 2), torch.zeros(5, dtype=torch.int64), drawn(0))
