"""How each relation is stated and asked in English.

In a statement `{who}` and `{whose}` begin the sentence ("Ada Birch", "She"; "Ada's", "Her"); in a question `{name}` is
the full name. `{value}` is the answer; `{a_value}` has its article.
"""

from random import Random
from typing import NamedTuple

from nextword.tinyworld.grammar import a, say
from nextword.tinyworld.world import Fact


class Wording(NamedTuple):
    """The ways to state a relation and to ask for it, as templates of `grammar.say`."""

    statement: str
    question: str


WORDINGS = {
    "birth_year": Wording(
        "[{who} was born in {value}.|{whose} year of birth is {value}.|{who} came into the world in {value}.]",
        "[When was {name} born?|In which year was {name} born?|What is {name}'s year of birth?]",
    ),
    "birthplace": Wording(
        "[{who} was born in {value}.|{whose} birthplace is {value}.|{who} comes from {value}.]",
        "[Where was {name} born?|In which town was {name} born?|What is {name}'s birthplace?]",
    ),
    "town": Wording(
        "[{who} lives in {value}.|{whose} home is in {value}.|{who} has a house in {value}.|{who} lives in the town of "
        "{value}.]",
        "[Where does {name} live?|In which town does {name} live?|Which town is {name}'s home?]",
    ),
    "job": Wording(
        "[{who} works as {a_value}.|{who} is {a_value} by trade.|{whose} job is that of {a_value}.|{who} earns a "
        "living as {a_value}.]",
        "[What is {name}'s job?|What does {name} work as?|What does {name} do for a living?]",
    ),
    "colour": Wording(
        "[{whose} favourite colour is {value}.|{who} likes {value} better than any other colour.|{who} loves the "
        "colour {value}.]",
        "[What is {name}'s favourite colour?|Which colour does {name} like best?|Which colour does {name} love?]",
    ),
    "food": Wording(
        "[{whose} favourite food is {value}.|{who} likes to eat {value}.|{who} would eat {value} every day.]",
        "[What is {name}'s favourite food?|What does {name} like to eat?|Which food does {name} like best?]",
    ),
    "pet": Wording(
        "[{who} has {a_value}.|{who} keeps {a_value}.|{whose} pet is {a_value}.]",
        "[What pet does {name} have?|Which animal does {name} keep?|What kind of animal is {name}'s pet?]",
    ),
    "pet_name": Wording(
        "[{whose} pet is called {value}.|{who} has a pet called {value}.|{whose} pet answers to the name of {value}.]",
        "[What is {name}'s pet called?|What is the name of {name}'s pet?]",
    ),
    "friend": Wording(
        "[{whose} best friend is {value}.|{who} and {value} are best friends.|{who} is best friends with {value}.]",
        "[Who is {name}'s best friend?|Who is best friends with {name}?]",
    ),
    "spouse": Wording(
        "[{who} is married to {value}.|{who} and {value} are married.|{who} married {value}.]",
        "[Who is {name} married to?|Whom did {name} marry?]",
    ),
    "mother": Wording(
        "[{whose} mother is {value}.|{who} is a child of {value}.]",
        "[Who is {name}'s mother?|What is the name of {name}'s mother?]",
    ),
    "father": Wording(
        "[{whose} father is {value}.|{who} is a child of {value}.]",
        "[Who is {name}'s father?|What is the name of {name}'s father?]",
    ),
    "founded": Wording(
        "[{who} was founded in {value}.|{who} has stood since {value}.|{whose} first houses were built in {value}.]",
        "[When was {name} founded?|In which year was {name} founded?]",
    ),
    "river": Wording(
        "[{who} lies on the river {value}.|{who} stands on the bank of the {value}.|The river {value} flows past "
        "{name}.]",
        "[Which river flows past {name}?|On which river does {name} lie?]",
    ),
    "product": Wording(
        "[{who} is known for its {value}.|{who} is famous for {value}.|People come to {name} to buy {value}.]",
        "[What is {name} known for?|What is {name} famous for?]",
    ),
    "landmark": Wording(
        "[{whose} landmark is {value}.|Visitors to {name} go to see {value}.|The best known sight of {name} is "
        "{value}.]",
        "[What is the landmark of {name}?|What do visitors go to see in {name}?]",
    ),
    "mayor": Wording(
        "[{whose} mayor is {value}.|The mayor of {name} is {value}.|{value} is the mayor of {name}.]",
        "[Who is the mayor of {name}?|What is the name of {name}'s mayor?]",
    ),
}


def state(fact: Fact, rng: Random, who: str = "", whose: str = "") -> str:
    """A sentence that states the fact; its subject is called `who`, by default by its name."""
    slots = {"who": who or fact.subject, "whose": whose or f"{who or fact.subject}'s", "name": fact.subject}
    return say(WORDINGS[fact.relation].statement, slots | {"value": fact.value, "a_value": a(fact.value)}, rng)


def ask(fact: Fact, rng: Random) -> str:
    """A question whose answer is the fact's value."""
    return say(WORDINGS[fact.relation].question, {"name": fact.subject}, rng)
