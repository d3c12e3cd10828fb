"""Small word problems with their steps worked out, never one that is kept for the test."""

from random import Random

from nextword.tinyworld.arithmetic import draw
from nextword.tinyworld.world import World

SHARE = 0.1
FEWEST, MOST = 1, 3


def write(world: World, rng: Random) -> str:
    """Some problems, each with the steps that lead to its answer."""
    problems = [draw(world, rng, "train") for _ in range(rng.randint(FEWEST, MOST))]
    return "\n\n".join(
        f"Question: {problem.question}\nAnswer: {problem.steps} The answer is {problem.answer}." for problem in problems
    )
