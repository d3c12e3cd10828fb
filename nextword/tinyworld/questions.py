"""Questions with known answers, to ask a model that has read the world's documents.

Of side `train` are questions that documents ask and answer; of side `test` those whose fact documents state in prose,
but whose question they never ask; of side `withheld` those that nothing in the documents answers.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from nextword.tinyworld.relations import ask
from nextword.tinyworld.world import Side, World


@dataclass(frozen=True, slots=True)
class Question:
    """A prompt that ends where the answer belongs, the right answer, and all the answers of its kind."""

    prompt: str
    answer: str
    choices: tuple[str, ...]
    subject: str
    relation: str


def questions(world: World, side: Side, seed: int = 0) -> Iterator[Question]:
    """A question for every fact of a side, in a random order that the seed decides.

    `prompt + " " + answer` is what a document would say.
    """
    rng = Random(f"tinyworld/questions/{world.seed}/{side}/{seed}")
    chosen = [fact for fact in world.facts if world.side(fact) == side]
    rng.shuffle(chosen)
    values: dict[str, set[str]] = {}
    for fact in world.facts:
        values.setdefault(fact.relation, set()).add(fact.value)
    choices = {relation: tuple(sorted(found)) for relation, found in values.items()}
    for fact in chosen:
        prompt = f"Question: {ask(fact, rng)}\nAnswer:"
        yield Question(prompt, fact.value, choices[fact.relation], fact.subject, fact.relation)
