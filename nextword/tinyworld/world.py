"""The invented world: a hundred people in twelve towns, and every fact about them.

A world is drawn from a seed and nothing else. Each fact is a triple (subject, relation, value) that can be asked, so an
evaluation knows the right answer. The facts lie on three sides:

- `train`: stated in documents, and asked in their questions;
- `test`: stated in documents, never asked there: who answers these has learnt from prose what questions want;
- `withheld`: stated nowhere: only a model that may look them up can answer.

Facts that give each other away (a married couple's town, the two ends of a friendship) lie on the same side.
"""

from dataclasses import asdict, dataclass
from hashlib import blake2b
from random import Random
from typing import Literal

from nextword.core.errors import DataError, nearest
from nextword.tinyworld import names

Side = Literal["train", "test", "withheld"]
PRESENT = 1990  # the year in which the world is described
TEST_SHARE, WITHHELD_SHARE = 0.15, 0.05
NO_RELATION = frozenset(["given", "family", "woman", "name"])  # fields that say who somebody is
CAN_BE_WITHHELD = frozenset(["birth_year", "birthplace", "job", "colour", "food", "pet_name"])


@dataclass(frozen=True, slots=True)
class Fact:
    """One thing that is true: `Fact("Ada Birch", "job", "baker")`."""

    subject: str
    relation: str
    value: str


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who lives in the world; other people are named in full."""

    given: str
    family: str
    woman: bool
    birth_year: int
    birthplace: str
    town: str
    job: str
    colour: str
    food: str
    pet: str
    pet_name: str
    friend: str
    spouse: str | None
    mother: str | None
    father: str | None

    @property
    def name(self) -> str:
        """Given and family name, unique in the world."""
        return f"{self.given} {self.family}"


@dataclass(frozen=True, slots=True)
class Town:
    """A place with a founding year, a river, what it is known for, a landmark and a mayor (a person's name)."""

    name: str
    founded: int
    river: str
    product: str
    landmark: str
    mayor: str


class World:
    """All people and towns of a seed, and the facts about them."""

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed
        rng = Random(f"tinyworld/world/{seed}")
        self.people = draw_people(rng)
        self.towns = draw_towns(rng, self.people)
        self.person = {person.name: person for person in self.people}
        self.town = {town.name: town for town in self.towns}
        things: tuple[Person | Town, ...] = (*self.people, *self.towns)
        self.facts = tuple(
            Fact(thing.name, relation, str(value))
            for thing in things
            for relation, value in asdict(thing).items()
            if relation not in NO_RELATION and value is not None
        )
        self._values = {(fact.subject, fact.relation): fact.value for fact in self.facts}
        stated = [fact for fact in self.facts if self.side(fact) != "withheld"]
        self.train_facts = tuple(fact for fact in stated if self.side(fact) == "train")
        self._stated = {(fact.subject, fact.relation) for fact in stated}
        self._about: dict[str, list[Fact]] = {}
        for fact in stated:
            self._about.setdefault(fact.subject, []).append(fact)

    def answer(self, subject: str, relation: str) -> str:
        """The value of a fact; DataError when the world has no such fact."""
        if (subject, relation) not in self._values:
            subjects = {name for name, _ in self._values}
            if subject not in subjects:
                raise DataError(f"nobody in this world is called {subject!r}{nearest(subject, subjects)}")
            known = [name for thing, name in self._values if thing == subject]
            raise DataError(f"{subject} has no {relation!r}{nearest(relation, known)}")
        return self._values[subject, relation]

    def side(self, fact: Fact) -> Side:
        """Where a fact belongs: asked in training, kept for the test, or withheld from all documents."""
        place = self._draw(fact)
        if fact.relation in CAN_BE_WITHHELD and place < WITHHELD_SHARE:
            return "withheld"
        return "test" if place < WITHHELD_SHARE + TEST_SHARE else "train"

    def facts_about(self, subject: str) -> tuple[Fact, ...]:
        """The facts that documents may state about a person or a town."""
        return tuple(self._about[subject])

    def stated(self, subject: str, relation: str) -> bool:
        """Whether documents may state this fact (it exists and is not withheld)."""
        return (subject, relation) in self._stated

    def _draw(self, fact: Fact) -> float:
        """A number from 0 to 1, the same for facts that give each other away."""
        who = fact.subject
        if fact.relation in {"friend", "spouse"}:
            who = "+".join(sorted([fact.subject, fact.value]))
        elif fact.relation in {"town", "mother", "father"} and fact.subject in self.person:
            who = self.person[fact.subject].family
        digest = blake2b(f"{self.seed}/{fact.relation}/{who}".encode(), digest_size=8).digest()
        return int.from_bytes(digest, "little") / float(1 << 64)


def draw_people(rng: Random) -> tuple[Person, ...]:
    """Families of a mother, a father and two grown-up children, and a best friend for everyone."""
    women, men = rng.sample(names.WOMEN, len(names.WOMEN)), rng.sample(names.MEN, len(names.MEN))
    daughters_and_sons = [True, False] * len(names.FAMILIES)
    rng.shuffle(daughters_and_sons)
    people: list[dict[str, object]] = []
    for family in names.FAMILIES:
        mother, father = women.pop(), men.pop()
        home, year = rng.choice(names.TOWNS), rng.randrange(1918, 1938)
        couple = {"mother": None, "father": None, "town": home}
        people.append(couple | {"given": mother, "woman": True, "birth_year": year, "spouse": f"{father} {family}"})
        father_year = year + rng.randrange(-5, 4)
        people.append(
            couple | {"given": father, "woman": False, "birth_year": father_year, "spouse": f"{mother} {family}"}
        )
        for later in (rng.randrange(21, 26), rng.randrange(27, 34)):
            girl = daughters_and_sons.pop()
            child = {"given": (women if girl else men).pop(), "woman": girl, "birth_year": year + later}
            parents = {"spouse": None, "mother": f"{mother} {family}", "father": f"{father} {family}"}
            people.append(child | parents | {"town": rng.choice(names.TOWNS)})
        for person in people[-4:]:
            person |= {"family": family, "birthplace": rng.choice(names.TOWNS), "job": rng.choice(list(names.JOBS))}
            person |= {"colour": rng.choice(names.COLOURS), "food": rng.choice(names.FOODS)}
            person |= {"pet": rng.choice(names.PETS), "pet_name": rng.choice(names.PET_NAMES)}
    befriend(people, rng)
    return tuple(Person(**person) for person in people)  # type: ignore[arg-type]


def befriend(people: list[dict[str, object]], rng: Random) -> None:
    """Gives everyone a best friend of the same generation from another family; friendship is mutual."""
    for grown_up in (True, False):
        generation = [person for person in people if (person["mother"] is None) == grown_up]
        while True:
            rng.shuffle(generation)
            pairs = list(zip(generation[::2], generation[1::2], strict=True))
            if all(one["family"] != other["family"] for one, other in pairs):
                break
        for one, other in pairs:
            one["friend"] = f"{other['given']} {other['family']}"
            other["friend"] = f"{one['given']} {one['family']}"


def draw_towns(rng: Random, people: tuple[Person, ...]) -> tuple[Town, ...]:
    """The towns, each with a mayor who lives there (or comes from elsewhere, where nobody does)."""
    products, landmarks = rng.sample(names.PRODUCTS, len(names.TOWNS)), rng.sample(names.LANDMARKS, len(names.TOWNS))
    towns = []
    for name, product, landmark in zip(names.TOWNS, products, landmarks, strict=True):
        living = [person for person in people if person.town == name] or list(people)
        founded, river = rng.randrange(1100, 1800), rng.choice(names.RIVERS)
        towns.append(Town(name, founded, river, product, landmark, rng.choice(living).name))
    return tuple(towns)
