"""Who goes on, for how long, and whether the grid was wide enough: worked out by hand."""

import pytest

from nextword.recipes.halving import sizes, steps_at, survivors, wider


@pytest.mark.parametrize(
    ("trials", "eta", "rungs", "expected"),
    [
        (27, 3, None, [27, 9, 3, 1]),
        (10, 3, None, [10, 3, 1]),
        (8, 2, None, [8, 4, 2, 1]),
        (5, 4, None, [5, 1]),
        (2, 3, None, [2, 1]),
        (1, 2, None, [1]),
        (27, 3, 2, [27, 9]),
        (6, 3, 1, [6]),
    ],
)
def test_sizes(trials: int, eta: int, rungs: int | None, expected: list[int]) -> None:
    assert sizes(trials, eta, rungs) == expected


def test_each_rung_is_eta_times_the_one_before_and_the_last_is_the_whole_run() -> None:
    assert [steps_at(900, 3, 3, rung) for rung in range(3)] == [100, 300, 900]
    assert [steps_at(1000, 2, 4, rung) for rung in range(4)] == [125, 250, 500, 1000]
    assert [steps_at(10, 3, 3, rung) for rung in range(3)] == [2, 4, 10]  # rounded up: never 0
    assert steps_at(77, 5, 1, 0) == 77


def test_the_lowest_losses_go_on_and_of_equal_ones_the_earlier() -> None:
    assert survivors([3.0, 1.0, 2.0], 2) == [1, 2]
    assert survivors([2.0, 1.0, 2.0, 1.0], 3) == [1, 3, 0]


def test_what_diverged_never_goes_on_though_a_place_is_free() -> None:
    assert survivors([None, 5.0, None], 2) == [1]
    assert survivors([None, None], 1) == []


@pytest.mark.parametrize(
    ("tried", "best", "expected"),
    [
        ([1e-3, 2e-3, 4e-3], 2e-3, None),
        ([1e-3, 2e-3, 4e-3], 4e-3, [2e-3, 4e-3, 8e-3, 1.6e-2]),
        ([4e-3, 1e-3, 2e-3], 1e-3, [2.5e-4, 5e-4, 1e-3, 2e-3]),
        ([1e-3], 1e-3, None),
    ],
)
def test_a_best_value_at_the_edge_asks_for_a_wider_grid(
    tried: list[float], best: float, expected: list[float] | None
) -> None:
    assert wider(tried, best) == expected
