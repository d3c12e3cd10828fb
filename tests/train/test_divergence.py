"""A huge learning rate is stopped with what helps; spikes, growth and high losses by nature are not."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from nextword.core import log
from nextword.core.errors import TrainingError
from nextword.train.divergence import HIGH_STEPS, diverged
from nextword.train.folder import Summary
from nextword.train.run import Progress

Pretrain = Callable[..., Summary]
RATES = {"llama": 8.0, "gpt2": 3.0, "lstm": 30.0}
SIZES = {"llama": {}, "gpt2": {"width": 16, "depth": 1, "heads": 2}, "lstm": {"width": 16, "depth": 1}}
HUGE = {"steps": 100, "warmup": 60, "eval_every": 0, "checkpoint_every": 2, "keep": 40}


@pytest.mark.parametrize("family", RATES)
def test_a_huge_learning_rate_is_stopped_with_the_advice_to_halve_it(
    pretrain: Pretrain, tmp_path: Path, family: str
) -> None:
    with pytest.raises(TrainingError) as error:
        pretrain(tmp_path, family=family, sizes=SIZES[family], learning_rate=RATES[family], **HUGE)
    message = str(error.value)
    assert "\n" not in message and "diverges" in message
    assert f"--train.learning_rate={RATES[family] / 2:g} " in message
    lines = log.read(tmp_path / "log.jsonl")
    last = len(lines) + 1  # the step that ended it is not logged
    first = lines[0]["loss"]
    assert all(line["loss"] > 1.5 * first for line in lines[1 - HIGH_STEPS :])
    assert lines[-HIGH_STEPS]["loss"] <= max(1.5 * first, first + 1)
    good = re.search(r"the last good checkpoint is .*step-0*(\d+)", message)
    began = last - HIGH_STEPS
    assert (int(good[1]) if good else 0) == began // 2 * 2, "from before the loss rose"


def test_interrupted_it_stops_where_it_would_have(pretrain: Pretrain, tmp_path: Path) -> None:
    for out, stops in ((tmp_path / "whole", ()), (tmp_path / "parts", (7, 8))):
        for stop in stops:
            with pytest.raises(KeyboardInterrupt):
                pretrain(out, stop=stop, learning_rate=8.0, **HUGE)
        with pytest.raises(TrainingError, match="diverges"):
            pretrain(out, learning_rate=8.0, **HUGE)
    losses = [[line["loss"] for line in log.read(tmp_path / name / "log.jsonl")] for name in ("whole", "parts")]
    assert losses[0] == losses[1]


def stopped(losses: list[float]) -> int | None:
    """At which of these losses a run is found to have diverged."""
    at = Progress()
    return next((step for step, loss in enumerate(losses) if diverged(at, loss)), None)


@pytest.mark.parametrize(
    "losses",
    [
        [8.3 - 0.01 * step for step in range(500)],
        [8.3] + [30.0] * 19 + [8.0] + [30.0] * 19 + [7.0] * 50,  # spikes that recover
        [2.5] + [3.4] * 200,  # fine-tuning begins on an easy batch, or loses a little at first
        [0.01] + [0.9] * 200,  # near 0 a multiple means little
        [42.0] + [60.0, 41.0] * 100,
        [8.3] + [3.0] * 50 + [7.5] * 100,  # stuck after all, but not worse than at first: for patience
        [-1.0] + [-0.1] * 100,  # an objective that is not a cross-entropy
    ],
    ids=lambda losses: f"{losses[0]}, {losses[1]:.1f}",
)
def test_no_false_alarm(losses: list[float]) -> None:
    assert stopped(losses) is None


def test_the_rule_by_hand() -> None:
    assert stopped([8.0] + [12.1] * 30) == HIGH_STEPS  # above 8 + 4
    assert stopped([8.0] + [11.9] * 30) is None
    assert stopped([0.5] + [1.6] * 30) == HIGH_STEPS  # above 0.5 + 1
    assert stopped([8.0] + [12.1] * 19 + [5.0] + [12.1] * 20) == 40
