"""Whatever tinyworld's documents state is true in its world, and what is withheld is stated nowhere.

The first half is a reader of the documents' English that knows nothing of the generator's templates.
"""

import hashlib
import os
import re
import subprocess
import sys
from itertools import islice

import pytest

from nextword.core.records import Document
from nextword.tinyworld.arithmetic import THINGS
from nextword.tinyworld.documents import COUNT, documents
from nextword.tinyworld.questions import questions
from nextword.tinyworld.world import World

NAME = r"([A-Z][a-z]+ [A-Z][a-z]+)"
TOWN = r"([A-Z][a-z]+)"
VALUE = r"([a-z][a-z ]+)"
PATTERNS = {  # how a sentence about N says it; each group is the value of the relation of the same place
    r"N was born in (\d+)": ["birth_year"],
    rf"N was born in {TOWN}": ["birthplace"],
    rf"N was born in {TOWN} in (\d+)": ["birthplace", "birth_year"],
    rf"N was born in (\d+) in the town of {TOWN}": ["birth_year", "birthplace"],
    r"N came into the world in (\d+)": ["birth_year"],
    r"N's year of birth is (\d+)": ["birth_year"],
    rf"N's birthplace is {TOWN}|N comes from {TOWN}": ["birthplace", "birthplace"],
    rf"N (?:lives in|has a house in|lives in the town of) {TOWN}|N's home is in {TOWN}": ["town", "town"],
    r"N works as an? ([a-z]+)|N is an? ([a-z]+) by trade": ["job", "job"],
    r"N's job is that of an? ([a-z]+)|N earns a living as an? ([a-z]+)": ["job", "job"],
    r"N \(born (\d+)\) is an? ([a-z]+)": ["birth_year", "job"],
    r"N, born in (\d+), works as an? ([a-z]+)": ["birth_year", "job"],
    rf"N is an? ([a-z]+) who lives in {TOWN}|N works as an? ([a-z]+) in {TOWN}": ["job", "town", "job", "town"],
    rf"N lives in {TOWN} and works as an? ([a-z]+)": ["town", "job"],
    rf"N, born in (\d+), lives in {TOWN}|N \(born (\d+)\) lives in {TOWN}": ["birth_year", "town"] * 2,
    r"N's favourite colour is ([a-z]+)|N likes ([a-z]+) better than any other colour": ["colour", "colour"],
    r"N loves the colour ([a-z]+)": ["colour"],
    rf"N's favourite food is {VALUE}|N likes to eat {VALUE}|N would eat {VALUE} every day": ["food"] * 3,
    r"N (?:has|keeps) an? ([a-z]+)|N's pet is an? ([a-z]+)": ["pet", "pet"],
    rf"N (?:has a|'s) pet (?:is )?called {TOWN}|N's pet is called {TOWN}": ["pet_name", "pet_name"],
    rf"N's pet answers to the name of {TOWN}": ["pet_name"],
    rf"N has an? ([a-z]+) called {TOWN}|N's ([a-z]+) is called {TOWN}|N keeps an? ([a-z]+), {TOWN}": ["pet", "pet_name"]
    * 3,
    rf"N's best friend is {NAME}|N and {NAME} are best friends|N is best friends with {NAME}": ["friend"] * 3,
    rf"N is married to {NAME}|N and {NAME} are married|N married {NAME}": ["spouse"] * 3,
    rf"N lives in {TOWN} with (?:her|his) (?:husband|wife) {NAME}": ["town", "spouse"],
    rf"N and (?:her|his) (?:husband|wife) {NAME} live in {TOWN}": ["spouse", "town"],
    rf"N's mother is {NAME}": ["mother"],
    rf"N's father is {NAME}": ["father"],
    rf"N is a child of {NAME}": ["parent"],
    rf"N is the (?:daughter|son) of {NAME} and {NAME}|N's parents are {NAME} and {NAME}": ["mother", "father"] * 2,
    r"N was founded in (\d+)|N has stood since (\d+)|N's first houses were built in (\d+)": ["founded"] * 3,
    rf"N lies on the river {TOWN}|N stands on the bank of the {TOWN}|The river {TOWN} flows past N": ["river"] * 3,
    rf"N is known for its {VALUE}|N is famous for {VALUE}|People come to N to buy {VALUE}": ["product"] * 3,
    rf"N's landmark is {VALUE}|Visitors to N go to see {VALUE}|The best known sight of N is {VALUE}": ["landmark"] * 3,
    rf"N's mayor is {NAME}|The mayor of N is {NAME}|{NAME} is the mayor of N": ["mayor"] * 3,
}
Triple = tuple[str, str, str]


def page(document: Document) -> tuple[set[Triple], list[str]]:
    """The facts that a page states, and the sentences that could not be read."""
    title, *paragraphs = document.text.split("\n\n")
    given = title.split()[0]
    stated: set[Triple] = set()
    unread = []
    for sentence in re.findall(r"[^.]+", " ".join(paragraphs)):
        plain = re.sub(rf"^(?:{title}|{given}|She|He|The town)\b", "N", sentence.strip())
        plain = re.sub(r"^(?:Her|His) ", "N's ", plain).replace(title, "N")
        found = inhabitants(plain, title)
        for pattern, relations in PATTERNS.items():
            found |= read(plain, title, pattern, relations)
        stated |= found
        if not found:
            unread.append(sentence)
    return stated, unread


def read(sentence: str, subject: str, pattern: str, relations: list[str]) -> set[Triple]:
    match = re.fullmatch(pattern, sentence)
    values = match.groups() if match else ()
    return {(subject, relation, value) for relation, value in zip(relations, values, strict=False) if value}


def inhabitants(sentence: str, town: str) -> set[Triple]:
    """`Among its people are Ada Birch, a baker, and Ben Vale`: who lives there, and their jobs."""
    match = re.fullmatch(
        r"(?:Among its people (?:is|are)|Those who live in N:|In N lives?) (.*)|(.*) lives? in N", sentence
    )
    if not match:
        return set()
    people = re.findall(rf"{NAME}(?:, an? ([a-z]+)\b)?", match[1] or match[2])
    homes = {(name, "town", town) for name, _ in people}
    return homes | {(name, "job", job) for name, job in people if job}


def story(document: Document, world: World) -> set[Triple]:
    """The facts that a story states about its hero, whom it calls by the given name."""
    text = document.text
    stated: set[Triple] = set()
    full = {person.given: person.name for person in world.people}
    towns, givens = "|".join(world.town), "|".join(full)
    mentioned = re.findall(rf"\b({givens})\b", text.split("\n\n", 1)[1] + " " + text)
    birthday = re.search(rf"It was ({givens})'s birthday", text)
    hero = full[birthday[1] if birthday else mentioned[0]]
    for pattern, relation in {
        rf"(?:her|his) best friend ({givens})": "friend",
        rf"that ({givens}) was (?:her|his) best friend": "friend",
        rf"(?:wife|husband) ({givens})": "spouse",
        rf"(?:mother), ({givens} \w+)": "mother",
        rf"was born in ({towns})": "birthplace",
        rf"(?:lived in|street in|streets of|door in|everybody in|went back to|near) ({towns})": "town",
        r"loved ([a-z ]+) more than any": "food",
        r"had made ([a-z ]+), (?:her|his) favourite": "food",
        r"favourite colour is ([a-z]+)|for ([a-z]+) was (?:her|his) favourite colour": "colour",
        r"could not find (?:her|his) ([a-z]+)|in vain for (?:her|his) ([a-z]+)": "pet",
        r"There sat \w+, (?:her|his) ([a-z]+)": "pet",
        r"There sat (\w+),|And there was (\w+)": "pet_name",
        rf"^(?:{givens}) is an? ([a-z]+) in |^(?:{givens}) was an? ([a-z]+), and": "job",
    }.items():
        for match in re.finditer(pattern, text, re.MULTILINE):
            value = next(group for group in match.groups() if group)
            stated.add((hero, relation, full.get(value, value)))
    for pattern, relation in {
        rf"to buy ([a-z ]+), for which ({towns})": "product",
        rf"storm came over ({towns})[^\0]*?thought of ([a-z ]+)": "landmark",
    }.items():
        for match in re.finditer(pattern, text):
            town = next(group for group in match.groups() if group in world.town)
            stated.add((town, relation, next(group for group in match.groups() if group != town)))
    return stated


def claims(found: list[Document], world: World) -> set[Triple]:
    """All that the pages, stories and questions state."""
    stated: set[Triple] = set()
    for document in found:
        if document.meta["kind"] in {"person", "town"}:
            stated |= page(document)[0]
        elif document.meta["kind"] == "story":
            stated |= story(document, world)
        elif document.meta["kind"] == "questions":
            stated |= {(asked(question), "", answer) for question, answer in pairs(document)}
    return stated


def asked(question: str) -> str:
    """Whom or what a question is about."""
    match = re.search(rf"{NAME}(?='s|\?| born| live| work| do| like| love| keep| have| married| marry)", question)
    town = re.search(r"\b([A-Z][a-z]+)(?='s|\?| known| famous| founded| lie)", question)
    subject = match or town
    assert subject, question
    return subject[1].removeprefix("Is ").removeprefix("Did ")


def pairs(document: Document) -> list[tuple[str, str]]:
    """The questions and answers of a document that asks."""
    return re.findall(r"Question: (.+)\nAnswer: (.+)", document.text)


@pytest.fixture(scope="module")
def made() -> list[Document]:
    return list(documents())


@pytest.fixture(scope="module")
def world() -> World:
    return World(0)


@pytest.fixture(scope="module")
def stated(made: list[Document], world: World) -> set[Triple]:
    return claims(made, world)


def truth(world: World) -> set[Triple]:
    """Every fact, and what follows from it: a parent is a mother or father; an answer without its relation."""
    facts = {(fact.subject, fact.relation, fact.value) for fact in world.facts}
    parents = {(child, "parent", value) for child, relation, value in facts if relation in {"mother", "father"}}
    return facts | parents | {(subject, "", value) for subject, _, value in facts}


def test_every_sentence_of_a_page_can_be_read(made: list[Document]) -> None:
    for document in made:
        if document.meta["kind"] in {"person", "town"}:
            stated, unread = page(document)
            assert not unread
            assert len(stated) >= 3 or len(document.text.split(".")) < 5


def test_all_that_is_stated_is_true(stated: set[Triple], world: World) -> None:
    assert len(stated) > 1500
    assert stated <= truth(world)
    assert len(stated - truth(World(1))) > 1000, "the check can fail: another world has other facts"


def test_what_is_withheld_is_stated_nowhere_and_the_rest_somewhere(stated: set[Triple], world: World) -> None:
    withheld = {(fact.subject, fact.relation, fact.value) for fact in world.facts if world.side(fact) == "withheld"}
    others = {(fact.subject, fact.relation, fact.value) for fact in world.facts} - withheld
    assert len(withheld) > 20
    assert not withheld & stated
    assert len(others - stated) < 0.02 * len(others)


def test_questions_of_the_test_are_never_asked_in_documents(made: list[Document], world: World) -> None:
    of_train = {question.prompt for seed in range(30) for question in questions(world, "train", seed)}
    of_test = {question.prompt for seed in range(30) for question in questions(world, "test", seed)}
    in_documents = {
        f"Question: {question}\nAnswer:"
        for document in made
        if document.meta["kind"] == "questions"
        for question, _ in pairs(document)
    }
    assert len(in_documents) > 1000
    assert in_documents <= of_train
    assert not in_documents & of_test


def test_sums_are_right_and_those_of_the_test_are_kept_out(made: list[Document]) -> None:
    count = 0
    for document in made:
        if document.meta["kind"] != "sums":
            continue
        for question, answer in pairs(document):
            count += 1
            steps = re.findall(r"(\d+) ([-+x]) (\d+) = (\d+)\.", answer)
            assert len(steps) == 2
            for left, sign, right, result in steps:
                a, b = int(left), int(right)
                assert int(result) == {"+": a + b, "-": a - b, "x": a * b}[sign]
            assert steps[0][3] in steps[1][:3:2], "the second step goes on from the first"
            assert answer.endswith(f"The answer is {steps[1][3]}.")
            numbers = re.findall(r"\d+", question)
            assert [steps[0][0], steps[0][2]] == numbers[:2]
            assert numbers[2] in steps[1]
            assert any(thing in question for thing in THINGS)
    assert count > 1000


def test_documents_differ_and_each_kind_has_its_share(made: list[Document]) -> None:
    assert len(made) == COUNT
    assert len({document.id for document in made}) == COUNT
    assert len({document.text for document in made}) > 0.98 * COUNT
    assert 2_000_000 < sum(len(document.text) for document in made) < 3_000_000
    kinds = [document.meta["kind"] for document in made]
    shares = {kind: kinds.count(kind) / COUNT for kind in set(kinds)}
    assert set(shares) == {"person", "town", "story", "questions", "sums"}
    assert min(shares.values()) > 0.08
    assert not any(re.search(r"[{}\[\]|]|  |\bNone\b| ,|\.\.", document.text) for document in made)


def test_the_same_seed_gives_the_same_whatever_the_hash_seed(made: list[Document]) -> None:
    code = (
        "import hashlib; from nextword.tinyworld.documents import documents;"
        "print(hashlib.sha256(''.join(d.text for d in documents(count=300)).encode()).hexdigest())"
    )
    here = hashlib.sha256("".join(document.text for document in made[:300]).encode()).hexdigest()
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        result = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
        )
        assert result.stdout.strip() == here


def test_more_documents_change_no_earlier_ones_and_seeds_differ(made: list[Document]) -> None:
    assert list(documents(count=20)) == made[:20]
    assert next(documents(count=10**12)) == made[0], "documents are made as they are asked for"
    other = list(islice(documents(seed=1), 20))
    assert not {document.text for document in other} & {document.text for document in made}
    assert {document.source for document in other} == {"tinyworld"}
