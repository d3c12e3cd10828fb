"""Diverse beam search: groups of beams, each of which avoids the tokens that the groups before it have just chosen.

    rank(y_t) = Σ log p − λ · (beams of earlier groups that chose y_t in this step)          λ: diversity

Beams of a plain search often differ in a word or two. Here group g sees what groups 1 .. g − 1 chose in the same step
(Hamming diversity) and ranks its own candidates accordingly; the first group is a plain beam search of its own size.
The penalty decides which candidates are kept and is not carried into their scores, so that the results of all groups
are ranked by their log-probabilities (Vijayakumar et al., "Diverse Beam Search", 2016, algorithm 1; one beam a group is
what they found to vary most).
"""

from collections.abc import Sequence

from nextword.core.errors import SettingsError
from nextword.decode.row import Row
from nextword.decode.strategies import beam
from nextword.decode.strategies.beam import Beams, Group, check_count
from nextword.decode.strategy import Search, Tools

KINDS = beam.KINDS
HONOURS = beam.HONOURS | {"groups", "diversity"}
DRAWS, HIDDEN = False, False
DIVERSITY = 0.5  # the paper finds 0.2 to 0.8 to serve most tasks
width = beam.width


def start(rows: Sequence[Row], tools: Tools) -> Search:
    """Begins a search in groups for each row."""
    return Beams([groups(row) for row in rows], [diversity(row) for row in rows], tools)


def groups(row: Row) -> list[Group]:
    """The groups of a row; SettingsError where beams cannot be shared out evenly."""
    check_count(row.strategy)
    beams = width(row.strategy)
    count = row.strategy.groups or beams
    if beams % count:
        raise SettingsError(f"{beams} beams cannot be shared out to {count} groups: choose a multiple of {count}")
    return [Group(row, beams // count, number) for number in range(count)]


def diversity(row: Row) -> float:
    """λ."""
    return DIVERSITY if row.strategy.diversity is None else row.strategy.diversity
