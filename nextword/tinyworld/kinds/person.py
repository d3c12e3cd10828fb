"""An encyclopedia's page about a person."""

from random import Random

from nextword.tinyworld.grammar import a, pronouns, say
from nextword.tinyworld.relations import state
from nextword.tinyworld.world import Fact, Person, World

SHARE = 0.34
FEWEST, MOST = 3, 8  # sentences after the first
# First sentences, with the facts that they state.
OPENINGS = {
    ("birthplace", "birth_year"): (
        "[{name} was born in {birthplace} in {birth_year}.|{name} was born in {birth_year} in the town of "
        "{birthplace}.]"
    ),
    ("birth_year", "job"): "[{name} (born {birth_year}) is {a_job}.|{name}, born in {birth_year}, works as {a_job}.]",
    ("job", "town"): (
        "[{name} is {a_job} who lives in {town}.|{name} works as {a_job} in {town}.|{name} lives in {town} and works "
        "as {a_job}.]"
    ),
    ("birth_year", "town"): (
        "[{name}, born in {birth_year}, lives in {town}.|{name} (born {birth_year}) lives in {town}.]"
    ),
    ("mother", "father"): (
        "[{name} is the {child} of {mother} and {father}.|{name}'s parents are {mother} and {father}.]"
    ),
    ("town", "spouse"): (
        "[{name} lives in {town} with {her} {partner} {spouse}.|{name} and {her} {partner} {spouse} live in {town}.]"
    ),
}
PET = "[{who} has {a_pet} called {pet_name}.|{whose} {pet} is called {pet_name}.|{who} keeps {a_pet}, {pet_name}.]"


def write(world: World, rng: Random) -> str:
    """A page: the name, a first sentence, then some facts in any order, none of them withheld."""
    person = rng.choice(world.people)
    left = {fact.relation: fact for fact in world.facts_about(person.name)}
    sentences = [opening(person, left, rng)]
    for _ in range(rng.randint(FEWEST, MOST)):
        if left:
            sentences.append(sentence(person, left, rng))
    if len(sentences) > FEWEST and rng.random() < 0.5:
        middle = rng.randrange(2, len(sentences))
        sentences[middle] = "\n\n" + sentences[middle]
    return f"{person.name}\n\n" + " ".join(sentences).replace(" \n\n", "\n\n")


def opening(person: Person, left: dict[str, Fact], rng: Random) -> str:
    """A first sentence; the facts that it states are taken out of `left`."""
    fitting = [(needs, template) for needs, template in OPENINGS.items() if set(needs) <= set(left)]
    needs, template = rng.choice(fitting)
    slots = {need: left.pop(need).value for need in needs}
    slots |= pronouns(person.woman) | {"name": person.name, "a_job": a(person.job)}
    kin = {"child": "daughter", "partner": "husband"} if person.woman else {"child": "son", "partner": "wife"}
    return say(template, slots | kin, rng)


def sentence(person: Person, left: dict[str, Fact], rng: Random) -> str:
    """A sentence about one fact of `left` (or a pet and its name together), which is taken out of it."""
    words = pronouns(person.woman)
    given = rng.random() < 0.3
    who, whose = (person.given, f"{person.given}'s") if given else (words["She"], words["Her"])
    relation = rng.choice(sorted(left))
    if relation in {"pet", "pet_name"} and {"pet", "pet_name"} <= set(left):
        slots = {"who": who, "whose": whose, "a_pet": a(person.pet), "pet": person.pet, "pet_name": person.pet_name}
        del left["pet"], left["pet_name"]
        return say(PET, slots, rng)
    return state(left.pop(relation), rng, who, whose)
