"""Settings of tokens as they are typed."""

from collections.abc import Callable

import pytest

from nextword.cli import parse
from nextword.core.settings import build, to_tree
from nextword.decode.settings import SamplingSettings as Sampling


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        (["--logit-bias", "5=-3", "7=2.5"], Sampling(logit_bias={5: -3, 7: 2.5})),
        (["--logit-bias", "5=-3,7=2.5", "--min-p", "0.1"], Sampling(logit_bias={5: -3, 7: 2.5}, min_p=0.1)),
        (["--forced", "0=4,-1=2"], Sampling(forced={0: 4, -1: 2})),
        (["--banned-ids", "5", "7,8"], Sampling(banned_ids=((5,), (7, 8)))),
    ],
)
def test_flags(typed: list[str], expected: Sampling) -> None:
    assert parse("generate", ["model", "The", *typed]).sampling == expected


@pytest.mark.parametrize("typed", [["--logit-bias", "x=1"], ["--logit-bias", "5"], ["--banned-ids", "5,b"]])
def test_what_is_no_number_is_one_line(refused: Callable[..., str], typed: list[str]) -> None:
    assert f"Invalid value for {typed[0]}" in refused("generate", "model", "The", *typed)


def test_as_a_section_of_a_recipe() -> None:
    settings = Sampling(logit_bias={5: -3.0}, forced={-1: 2}, banned_ids=((5,), (7, 8)))
    assert build(Sampling, to_tree(settings)) == settings
