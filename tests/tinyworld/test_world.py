"""The world itself: its people fit together, its facts can be asked, its sides leak nothing."""

import pytest

from nextword.core.errors import DataError
from nextword.tinyworld.arithmetic import draw
from nextword.tinyworld.grammar import a, listing, say, unwrap
from nextword.tinyworld.kinds.story import suits
from nextword.tinyworld.plots import PLOTS
from nextword.tinyworld.questions import questions
from nextword.tinyworld.world import PRESENT, World

SEEDS = range(12)


@pytest.mark.parametrize("seed", SEEDS)
def test_people_fit_together(seed: int) -> None:
    world = World(seed)
    assert len(world.people) == len(world.person) == 100
    assert len({person.given for person in world.people}) == 100
    for person in world.people:
        friend = world.person[person.friend]
        assert friend.friend == person.name
        assert friend.family != person.family
        assert (person.spouse is None) == (person.mother is not None)
        if person.spouse:
            spouse = world.person[person.spouse]
            assert (spouse.spouse, spouse.town, spouse.woman) == (person.name, person.town, not person.woman)
        if person.mother and person.father:
            mother, father = world.person[person.mother], world.person[person.father]
            assert mother.spouse == father.name
            assert mother.woman and not father.woman
            assert mother.family == person.family
            assert 18 <= person.birth_year - mother.birth_year <= 40
            assert 16 <= person.birth_year - father.birth_year <= 45
        assert PRESENT - person.birth_year >= 18, "everybody is grown up and works"
    for town in world.towns:
        assert town.mayor in world.person
        assert world.person[town.mayor].town == town.name or not any(p.town == town.name for p in world.people)


@pytest.mark.parametrize("seed", SEEDS)
def test_every_plot_finds_a_hero(seed: int) -> None:
    world = World(seed)
    for plot in PLOTS:
        assert sum(suits(world, person, plot) for person in world.people) >= 10, plot.title


def test_every_fact_can_be_asked_and_unknown_ones_name_the_nearest() -> None:
    world = World(3)
    for fact in world.facts:
        assert world.answer(fact.subject, fact.relation) == fact.value
    name = world.people[0].name
    with pytest.raises(DataError, match=f"did you mean '{name}'"):
        world.answer(name + "e", "job")
    with pytest.raises(DataError, match="did you mean 'colour'"):
        world.answer(name, "color")
    assert World(3).facts == world.facts
    assert World(4).facts != world.facts


@pytest.mark.parametrize("seed", SEEDS)
def test_sides_are_large_enough_and_give_nothing_away(seed: int) -> None:
    world = World(seed)
    side = {(fact.subject, fact.relation): world.side(fact) for fact in world.facts}
    shares = {name: list(side.values()).count(name) / len(side) for name in ("train", "test", "withheld")}
    assert 0.7 < shares["train"] < 0.9
    assert 0.1 < shares["test"] < 0.26
    assert 0.01 < shares["withheld"] < 0.06
    for person in world.people:
        assert side[person.name, "friend"] == side[person.friend, "friend"]
        assert world.stated(person.name, "friend")
        if person.spouse:
            assert side[person.name, "spouse"] == side[person.spouse, "spouse"]
            assert side[person.name, "town"] == side[person.spouse, "town"]
        if person.mother:
            assert not world.stated(person.name, "spouse"), "there is none"
    siblings = {}
    for person in world.people:
        if person.mother:
            assert siblings.setdefault(person.mother, side[person.name, "mother"]) == side[person.name, "mother"]


def test_questions_cover_each_side_with_choices() -> None:
    world = World(0)
    for name in ("train", "test", "withheld"):
        asked = list(questions(world, name))  # type: ignore[arg-type]
        assert len(asked) == sum(world.side(fact) == name for fact in world.facts)
        for question in asked:
            assert question.subject in question.prompt
            assert question.prompt.startswith("Question: ") and question.prompt.endswith("?\nAnswer:")
            assert question.answer == world.answer(question.subject, question.relation)
            assert question.answer in question.choices
            assert f" {question.answer}?" not in question.prompt
    assert list(questions(world, "test", 1)) == list(questions(world, "test", 1)) != list(questions(world, "test", 2))


def test_no_question_gives_away_the_kind_of_pet_that_another_asks_for() -> None:
    world = World(0)
    for question in questions(world, "train"):
        if question.relation == "pet_name":
            assert world.answer(question.subject, "pet") not in question.prompt.lower().replace("pet", "")


def test_sums_of_the_two_sides_share_no_numbers() -> None:
    from random import Random

    world = World(0)
    train = {draw(world, Random(seed), "train").numbers for seed in range(600)}
    test = {draw(world, Random(seed), "test").numbers for seed in range(600)}
    assert len(train) > 500 and len(test) > 300
    assert not train & test


def test_grammar() -> None:
    from random import Random

    found = {say("[A|The [big|small]] {pet} ran[| off].", {"pet": "dog"}, Random(seed)) for seed in range(60)}
    subjects = ["A dog", "The big dog", "The small dog"]
    assert found == {f"{subject} ran{end}." for subject in subjects for end in ("", " off")}
    assert a("owl") == "an owl"
    assert listing(["Ada"]) == "Ada"
    assert listing(["Ada", "Ben"]) == "Ada and Ben"
    assert unwrap("\na\nb\n\nc\n") == "a b\n\nc"
    with pytest.raises(KeyError):
        say("{nobody}", {}, Random(0))
