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
        line.update(50, loss="2.31")
        line.began -= 10  # as if ten seconds had passed
        line.shown = 0
        line.update(100, loss="1.90")
    output = capsys.readouterr().err.splitlines()
    assert "train   25% 50/200 steps · loss 2.31" in output[0]
    assert "50% 100/200 steps · loss 1.90 · " in output[1] and output[1].endswith("s left")
    with progress.Progress("train", None, "steps", quiet=True) as line:
        line.update(3)
    assert capsys.readouterr().err == ""
