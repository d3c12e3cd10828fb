"""NMI and ARI by hand, by their bounds, and against scikit-learn where it is installed."""

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nextword.core.errors import SettingsError
from nextword.evals.agreement import ari, nmi

GROUPS = st.lists(st.tuples(st.integers(0, 3), st.sampled_from("abc")), min_size=2, max_size=30)


def test_by_hand() -> None:
    """Six things in clusters 0 0 0 1 1 1 with labels a a b b b b: the table is [[2, 1], [0, 3]]."""
    clusters, labels = [0, 0, 0, 1, 1, 1], list("aabbbb")
    halves = math.log(2)
    of_labels = -(2 / 6 * math.log(2 / 6) + 4 / 6 * math.log(4 / 6))
    mutual = 2 / 6 * math.log(6 * 2 / (3 * 2)) + 1 / 6 * math.log(6 * 1 / (3 * 4)) + 3 / 6 * math.log(6 * 3 / (3 * 4))
    assert nmi(clusters, labels) == pytest.approx(mutual / ((halves + of_labels) / 2))
    # pairs together in both: 1 + 0 + 0 + 3; in clusters 3 + 3; in labels 1 + 6; of all 15
    same, a, b, chance = 4, 6, 7, 6 * 7 / 15
    assert ari(clusters, labels) == pytest.approx((same - chance) / ((a + b) / 2 - chance))


def test_less_than_chance_and_no_choice() -> None:
    assert ari([0, 0, 1, 1], list("abab")) == pytest.approx(-0.5)
    assert nmi([0, 0, 1, 1], list("abab")) == pytest.approx(0.0)
    assert nmi([0, 0], "aa") == ari([0, 0], "aa") == 1.0
    assert nmi([0, 1], "ab") == ari([0, 1], "ab") == 1.0
    assert nmi([0, 0, 0], "aab") == 0.0
    with pytest.raises(SettingsError, match="received 2 and 3"):
        nmi([0, 1], "abc")


@given(GROUPS)
def test_bounds_names_and_pairs(both: list[tuple[int, str]]) -> None:
    first, second = zip(*both, strict=True)
    assert 0.0 <= nmi(first, second) <= 1.0 + 1e-12
    assert nmi(first, second) == pytest.approx(nmi(second, first))
    assert nmi(first, first) == pytest.approx(1.0)
    renamed = [f"group {one}" for one in first]
    assert ari(renamed, second) == pytest.approx(ari(first, second))
    # the Rand index, counted pair by pair, and what it is by chance
    pairs = list(itertools.combinations(range(len(both)), 2))
    together = [(first[i] == first[j], second[i] == second[j]) for i, j in pairs]
    same, a, b = (sum(found) for found in ([x and y for x, y in together], [x for x, _ in together],
                                           [y for _, y in together]))  # fmt: skip
    chance, most = a * b / len(pairs), (a + b) / 2
    assert ari(first, second) == pytest.approx(1.0 if most == chance else (same - chance) / (most - chance))


@given(GROUPS)
def test_as_scikit_learn_has_it(both: list[tuple[int, str]]) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    first, second = zip(*both, strict=True)
    assert nmi(first, second) == pytest.approx(metrics.normalized_mutual_info_score(second, first), abs=1e-9)
    assert ari(first, second) == pytest.approx(metrics.adjusted_rand_score(second, first), abs=1e-9)
