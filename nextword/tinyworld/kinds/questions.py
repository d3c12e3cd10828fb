"""Questions about the world with their answers, never one that is kept for the test."""

from random import Random

from nextword.tinyworld.relations import ask
from nextword.tinyworld.world import Fact, World

SHARE = 0.16
FEWEST, MOST = 2, 6


def write(world: World, rng: Random) -> str:
    """Some questions, half of the time all about the same person."""
    facts: tuple[Fact, ...] = world.train_facts
    if rng.random() < 0.5:
        subject = rng.choice(facts).subject
        facts = tuple(fact for fact in world.facts_about(subject) if world.side(fact) == "train")
    some = rng.sample(facts, min(len(facts), rng.randint(FEWEST, MOST)))
    return "\n\n".join(f"Question: {ask(fact, rng)}\nAnswer: {fact.value}" for fact in some)
