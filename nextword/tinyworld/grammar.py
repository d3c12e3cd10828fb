"""Varied wording: a template with alternatives in brackets and slots in braces.

`[A|The] {pet} [ran|walked [off|away]]` becomes one of its sentences: brackets choose (and may nest), braces are filled.
"""

import re
from collections.abc import Mapping
from random import Random

INNERMOST = re.compile(r"\[([^\[\]]*)\]")


def say(template: str, slots: Mapping[str, str], rng: Random) -> str:
    """One sentence of the template; KeyError for a slot that is not given."""
    while "[" in template:
        template = INNERMOST.sub(lambda match: rng.choice(match[1].split("|")), template)
    return template.format_map(slots)


def unwrap(text: str) -> str:
    r"""A text that was wrapped to fit a source file: line ends become spaces, blank lines stay.

    >>> unwrap("\nOne\nline.\n\nAnother.\n")
    'One line.\n\nAnother.'
    """
    return re.sub(r"(?<!\n)\n(?!\n)", " ", text.strip())


def a(noun: str) -> str:
    """The noun with its article.

    >>> a("owl"), a("baker")
    ('an owl', 'a baker')
    """
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def listing(items: list[str]) -> str:
    """Items as a list in a sentence.

    >>> listing(["Ada", "Ben", "Cora"])
    'Ada, Ben and Cora'
    """
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"


def pronouns(woman: bool) -> dict[str, str]:
    """The slots she, her (owner), obj (her, him), She and Her, for a woman or a man."""
    she, her, whom = ("she", "her", "her") if woman else ("he", "his", "him")
    return {"she": she, "her": her, "obj": whom, "She": she.title(), "Her": her.title()}
