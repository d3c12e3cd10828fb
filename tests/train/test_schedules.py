"""Every schedule at steps worked out by hand."""

import math

import pytest

from nextword.core.errors import SettingsError
from nextword.core.registry import names
from nextword.train.schedule import Plan, check, factor, find
from nextword.train.settings import TrainSettings

# 11 steps, 3 of them warm-up, floor 0.1, the last 40 % (4 steps) decay in wsd. Steps 3..10 have progress 0/7 .. 7/7.
PLAN = Plan(steps=11, warmup=3, decay=0.4, floor=0.1)
WARM = [1 / 3, 2 / 3, 1.0]
HAND = {
    "constant": WARM + [1.0] * 8,
    "linear": WARM + [1 - 0.9 * k / 7 for k in range(8)],
    "cosine": WARM + [0.1 + 0.45 * (1 + math.cos(math.pi * k / 7)) for k in range(8)],
    "wsd": [*WARM, 1.0, 1.0, 1.0, 1.0, 0.1 + 0.9 * 3 / 4, 0.1 + 0.9 * 2 / 4, 0.1 + 0.9 / 4, 0.1],
    "wsd_sqrt": [*WARM, 1.0, 1.0, 1.0, 1.0, *(0.1 + 0.9 * (1 - math.sqrt(k / 4)) for k in range(1, 5))],
    "inverse_root": WARM + [math.sqrt(3 / t) for t in range(4, 12)],
}


@pytest.mark.parametrize("name", names("nextword.train.schedules"))
def test_by_hand(name: str) -> None:
    schedule = find(name)
    assert [factor(schedule, step, PLAN) for step in range(11)] == pytest.approx(HAND[name])


def test_without_warm_up_the_first_step_has_the_highest_rate() -> None:
    for name in names("nextword.train.schedules"):
        assert factor(find(name), 0, Plan(steps=10)) == 1.0


def test_one_step_and_nothing_but_warm_up() -> None:
    for name in names("nextword.train.schedules"):
        assert 0 <= factor(find(name), 0, Plan(steps=1)) <= 1
        assert factor(find(name), 4, Plan(steps=5, warmup=5)) == 1.0


def test_a_misspelt_schedule_names_the_nearest() -> None:
    with pytest.raises(SettingsError, match="did you mean 'cosine'"):
        find("cosin")


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"schedule": "cosine", "decay": 0.3}, "train.decay has no effect"),
        ({"schedule": "constant", "floor": 0.2}, "train.floor has no effect"),
        ({"schedule": "inverse-root", "floor": 0.2}, "train.floor has no effect"),
        ({"schedule": "wsd", "warmup": 70, "decay": 0.4}, "rises for 70 of 100 steps"),
    ],
    ids=str,
)
def test_what_a_schedule_cannot_do_is_refused(wrong: dict, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        check(TrainSettings(steps=100, **wrong))


@pytest.mark.parametrize("name", ["wsd", "wsd-sqrt"])
def test_decay_and_floor_may_be_set_where_they_count(name: str) -> None:
    check(TrainSettings(steps=100, schedule=name, decay=0.6, warmup=40, floor=0.0))
