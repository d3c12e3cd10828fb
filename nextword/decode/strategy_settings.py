"""Settings of the strategies: how the next tokens are searched for."""

from dataclasses import dataclass
from typing import Literal

from nextword.core.settings import in_range

MOST_ROWS = 1000  # beams, or texts to choose from
MOST_GUESSES = 32  # tokens guessed at once


@dataclass(frozen=True, kw_only=True)
class StrategySettings:
    """How texts are searched for. What a strategy does not go by is refused; what is left out is its own default."""

    strategy: str | None = None
    "sample, beam, diverse-beam, contrastive, best-of, speculative, lookup; an encoder: mask-predict (sample)."
    n: int | None = None
    "How many texts: with beam, diverse-beam and best-of the n best, else samples with seeds counted up (1)."
    beams: int | None = None
    "beam, diverse-beam: texts that are followed at once (4)."
    length_penalty: float | None = None
    "beam, diverse-beam: a text's score is the sum of its log-probabilities over its length to this power (1)."
    early_stopping: Literal[True, False, "never"] | None = None
    "beam, diverse-beam: end when enough texts have ended (true), or no better is likely (false) or possible (never)."
    groups: int | None = None
    "diverse-beam: groups of beams, each kept from the tokens of those before it (as many as beams)."
    diversity: float | None = None
    "diverse-beam: taken off a token's score for each beam of an earlier group that chose it (0.5)."
    alpha: float | None = None
    "contrastive: the weight of not being like what was said before, 0 to 1 (0.6)."
    candidates: int | None = None
    "contrastive: tokens that are looked at each time (4); best-of: texts that are drawn (8)."
    guesses: int | None = None
    "speculative, lookup: the most tokens that are guessed at once (16); fewer where they are often wrong."
    ngram: int | None = None
    "lookup: the longest run of last tokens that is looked for in what was read (3)."
    iterations: int | None = None
    "mask-predict: how often the text is looked over (10)."

    def __post_init__(self) -> None:
        limits = {
            "n": (1, MOST_ROWS),
            "beams": (1, MOST_ROWS),
            "groups": (1, MOST_ROWS),
            "diversity": (0, float("inf")),
            "alpha": (0, 1),
            "candidates": (1, MOST_ROWS),
            "guesses": (1, MOST_GUESSES),
            "ngram": (1, 64),
            "iterations": (1, MOST_ROWS),
            "length_penalty": (-100, 100),
        }
        for name, (low, high) in limits.items():
            value = getattr(self, name)
            if value is not None:
                in_range(name, value, low, high)
