"""An encyclopedia's page about a town."""

from random import Random

from nextword.tinyworld.grammar import a, listing, say
from nextword.tinyworld.relations import state
from nextword.tinyworld.world import World

SHARE = 0.1
MOST_PEOPLE = 4
PEOPLE = (
    "[Among its people {are} {people}.|{people} {live} in {town}.|Those who live in {town}: {people}.|In {town} {live} "
    "{people}.]"
)


def write(world: World, rng: Random) -> str:
    """A page: the name, then its facts in any order and some of the people who live there."""
    town = rng.choice(world.towns)
    facts = list(world.facts_about(town.name))
    rng.shuffle(facts)
    sentences = [state(fact, rng, who=town.name if place == 0 else "The town") for place, fact in enumerate(facts)]
    living = [person for person in world.people if person.town == town.name]
    if living:
        some = rng.sample(living, rng.randint(1, min(MOST_PEOPLE, len(living))))
        people = [
            f"{person.name}, {a(person.job)}," if world.stated(person.name, "job") else person.name for person in some
        ]
        slots = {"people": listing(people), "town": town.name}
        slots |= {"are": "are", "live": "live"} if len(some) > 1 else {"are": "is", "live": "lives"}
        sentences.append("\n\n" + say(PEOPLE, slots, rng).replace(",.", ".").replace(",,", ","))
    return f"{town.name}\n\n" + " ".join(sentences).replace(" \n\n", "\n\n")
