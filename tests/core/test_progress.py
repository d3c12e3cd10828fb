"""The progress line."""

import doctest

import pytest

from nextword.core import errors, progress


def test_examples_in_the_docstrings_hold() -> None:
    for module in (progress, errors):
        assert doctest.testmod(module).failed == 0
        assert doctest.testmod(module).attempted > 0


def test_plain_lines_say_how_far_and_what_is_left(capsys: pytest.CaptureFixture[str]) -> None:
    with progress.Progress("train", 200, "steps") as line:
        line.update(50, loss="2.31")  # too early for a plain line
        line.began -= 10  # as if ten seconds had passed
        line.shown -= 10
        line.update(100, loss="1.90")
        line.update(200)
    output = capsys.readouterr().err.splitlines()
    assert output[0] == "train   50% 100/200 steps · loss 1.90 · 10s left"
    assert output[1] == "train  100% 200/200 steps · loss 1.90 · 10s" and len(output) == 2
    with progress.Progress("train", None, "steps", quiet=True) as line:
        line.update(3)
    assert capsys.readouterr().err == ""
