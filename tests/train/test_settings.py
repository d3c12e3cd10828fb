"""Settings out of range and settings without effect are refused."""

import pytest

from nextword.core.errors import SettingsError
from nextword.train.settings import TrainSettings, seconds


@pytest.mark.parametrize(
    "wrong",
    [{"steps": 0}, {"batch": 0}, {"micro_batch": 17}, {"warmup": 2000}, {"floor": 1.5}, {"betas": (0.9, 1.0)},
     {"seed": -1}, {"precision": "fp8"}, {"max_time": "ten"}, {"patience": 3, "eval_every": 0}, {"threads": 0},
     {"batch_warmup": 1001}, {"length_warmup": -1}, {"tail": 1.1}, {"tail": 0.2, "ema": 0.9},
     {"keep": 0}, {"learning_rate": float("nan")}, {"muon_scale": "spectral"}, {"muon_every": 1001}, {"muon_steps": 0},
     {"muon_rate": -1.0}, {"muon_momentum": 1.0}, {"cautious_decay": True, "weight_decay": 0.0}],
    ids=str,
)  # fmt: skip
def test_refused(wrong: dict) -> None:
    name = next(iter(wrong))
    with pytest.raises(SettingsError, match=f"train.{name}"):
        TrainSettings(**wrong)


def test_defaults_that_are_worked_out() -> None:
    assert TrainSettings(steps=50).warm_steps == 5 and TrainSettings(steps=5000).warm_steps == 100
    assert TrainSettings().micro_rows == TrainSettings().batch and TrainSettings(micro_batch=4).micro_rows == 4
    assert TrainSettings().max_seconds == float("inf") and TrainSettings(max_time="10m").max_seconds == 600


def test_a_batch_grows_row_by_row_and_a_length_by_eights() -> None:
    settings = TrainSettings(steps=40, batch=20, length=100, batch_warmup=16, length_warmup=8)
    assert [settings.rows_at(step) for step in (0, 1, 8, 15, 16, 39)] == [2, 4, 11, 19, 20, 20]
    lengths = [settings.length_at(step) for step in range(10)]
    assert lengths == [16, 24, 32, 48, 56, 64, 80, 88, 100, 100]  # 12.5 and 10.94 a step, to the nearest eight
    assert TrainSettings(steps=9, length=5, length_warmup=9).length_at(0) == 5


def test_muons_rate_goes_with_its_scale() -> None:
    assert TrainSettings(learning_rate=0.3).hidden_rate == 0.3
    assert TrainSettings(muon_scale="shape").hidden_rate == 0.02
    assert TrainSettings(muon_scale="shape", muon_rate=0.5).hidden_rate == 0.5


@pytest.mark.parametrize(
    "text, expected", [("90s", 90), ("10m", 600), ("1h30m", 5400), ("1.5h", 5400), ("45", 45), ("2d", 172800)]
)
def test_times(text: str, expected: float) -> None:
    assert seconds(text) == expected


@pytest.mark.parametrize("text", ["", "m", "10 m", "10x", "-5s", "1h-3m"])
def test_times_that_are_none(text: str) -> None:
    with pytest.raises(SettingsError, match="such as 90s"):
        seconds(text)
