"""A short story about somebody of the world; what it says about people and towns is true there."""

from random import Random

from nextword.tinyworld.grammar import a, pronouns, say, unwrap
from nextword.tinyworld.names import JOBS
from nextword.tinyworld.plots import ELDERS, PLACES, PLOTS, SEASONS, THINGS, VISITORS, WEATHER, Plot
from nextword.tinyworld.world import Person, World

SHARE = 0.3
TITLED = ("pet", "food", "colour", "job", "thing")  # slots that titles use, with capitals


def write(world: World, rng: Random) -> str:
    """A title and a story of some paragraphs."""
    plot = rng.choice(PLOTS)
    hero = rng.choice(world.people)
    while not suits(world, hero, plot):
        hero = rng.choice(world.people)
    slots = words(world, hero, rng)
    return f"{say(plot.title, slots, rng)}\n\n{say(unwrap(plot.text), slots, rng)}"


def suits(world: World, hero: Person, plot: Plot) -> bool:
    """Whether all that the plot says about its hero exists and may be stated, and who travels has somewhere to go."""
    goals = {"birthplace": hero.birthplace, "mother": world.person[hero.mother].town if hero.mother else ""}
    if any(goals.get(need) == hero.town for need in plot.needs):
        return False
    owners = {"landmark": hero.town, "product": hero.town, "friend_job": hero.friend}
    return all(world.stated(owners.get(need, hero.name), need.removeprefix("friend_")) for need in plot.needs)


def words(world: World, hero: Person, rng: Random) -> dict[str, str]:
    """Every slot that a plot may use; those whose facts are withheld stay unused, since the plot does not suit."""
    friend, town = world.person[hero.friend], world.town[hero.town]
    mother = world.person[hero.mother] if hero.mother else None
    stranger = rng.choice(world.people)
    while stranger.name in {hero.name, friend.name}:
        stranger = rng.choice(world.people)
    slots = pronouns(hero.woman) | {f"f{slot}": word for slot, word in pronouns(friend.woman).items()}
    slots |= {"hero": hero.given, "full": hero.name, "friend": friend.given, "friend_any": stranger.given}
    slots |= {"job": hero.job, "a_job": a(hero.job), "work": JOBS[hero.job]}
    slots |= {"friend_job": friend.job, "a_friend_job": a(friend.job)}
    slots |= {"town": town.name, "landmark": town.landmark, "product": town.product, "birthplace": hero.birthplace}
    slots |= {"colour": hero.colour, "food": hero.food, "pet": hero.pet, "pet_name": hero.pet_name}
    slots |= {"spouse": hero.spouse.split()[0] if hero.spouse else "", "partner": "husband" if hero.woman else "wife"}
    slots |= {"mother": mother.name if mother else "", "mother_given": mother.given if mother else ""}
    slots |= {"weather": rng.choice(WEATHER), "season": rng.choice(SEASONS), "place": rng.choice(PLACES)}
    slots |= {"thing": rng.choice(THINGS), "visitor": rng.choice(VISITORS), "elder": rng.choice(ELDERS)}
    slots["a_thing"] = a(slots["thing"])
    slots["Place"] = slots["place"][0].upper() + slots["place"][1:]
    return slots | {slot.title(): slots[slot].title() for slot in TITLED}
