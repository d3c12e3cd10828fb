"""Word problems with two steps, for example 23 apples - 20 + 6 = 9, whose numbers decide their side.

A problem's side is a hash of its form and numbers, so that no test problem, whoever's apples it counts, is ever worked
out in a training document.
"""

from dataclasses import dataclass
from hashlib import blake2b
from random import Random
from typing import Literal

from nextword.tinyworld.grammar import pronouns, say
from nextword.tinyworld.world import World

THINGS = ("apples", "buttons", "candles", "coins", "cherries", "eggs", "nuts", "pears", "shells", "stamps")
TEST_SHARE = 0.15
LARGEST = 30
Side = Literal["train", "test"]


@dataclass(frozen=True, slots=True)
class Problem:
    """A question in words, the steps to its answer, and the answer; `numbers` begin with the form."""

    question: str
    steps: str
    answer: int
    numbers: tuple[str, int, int, int]

    @property
    def side(self) -> Side:
        """Whether documents may show it (`train`) or it is kept to ask (`test`)."""
        digest = blake2b(repr(self.numbers).encode(), digest_size=8).digest()
        return "test" if int.from_bytes(digest, "little") < TEST_SHARE * float(1 << 64) else "train"


def draw(world: World, rng: Random, side: Side) -> Problem:
    """A problem of the side asked for."""
    forms = (give_and_find, bags, three_days)
    while True:
        problem = rng.choice(forms)(world, rng)
        if problem.side == side:
            return problem


def give_and_find(world: World, rng: Random) -> Problem:
    """a - b + c."""
    start = rng.randint(2, LARGEST)
    given, found = rng.randint(1, start), rng.randint(1, LARGEST)
    left = start - given
    question = say(
        "{name} has {start} {things}. {She} [gives {given} of them to {other}|loses {given} of them|sells {given} of "
        "them] and [then|later] [finds|buys|gets] {found} more. How many {things} does {name} have now?",
        people(world, rng) | {"start": str(start), "given": str(given), "found": str(found)},
        rng,
    )
    steps = f"{start} - {given} = {left}. {left} + {found} = {left + found}."
    return Problem(question, steps, left + found, ("give", start, given, found))


def bags(world: World, rng: Random) -> Problem:
    """a · b + c."""
    count, inside, more = rng.randint(2, 9), rng.randint(2, 9), rng.randint(1, LARGEST)
    question = say(
        "{name} buys {count} [bags|boxes|baskets] with {inside} {things} in each. {other} [gives|brings] {obj} {more} "
        "more. How many {things} does {name} have?",
        people(world, rng) | {"count": str(count), "inside": str(inside), "more": str(more)},
        rng,
    )
    product = count * inside
    steps = f"{count} x {inside} = {product}. {product} + {more} = {product + more}."
    return Problem(question, steps, product + more, ("bags", count, inside, more))


def three_days(world: World, rng: Random) -> Problem:
    """a + b + c."""
    first, second, third = (rng.randint(1, LARGEST) for _ in range(3))
    question = say(
        "{name} [finds|picks up|collects] {first} {things} on Monday, {second} on Tuesday and {third} on Wednesday. "
        "How many {things} is that together?",
        people(world, rng) | {"first": str(first), "second": str(second), "third": str(third)},
        rng,
    )
    steps = f"{first} + {second} = {first + second}. {first + second} + {third} = {first + second + third}."
    return Problem(question, steps, first + second + third, ("days", first, second, third))


def people(world: World, rng: Random) -> dict[str, str]:
    """Slots for somebody, somebody else, and the things that are counted."""
    one, other = rng.sample(world.people, 2)
    return pronouns(one.woman) | {"name": one.given, "other": other.given, "things": rng.choice(THINGS)}
