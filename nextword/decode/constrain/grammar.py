r"""What a text must be: a regular expression, a JSON Schema, or a grammar, compiled into something that follows tokens.

An automaton over bytes is run over the tree of all tokens' bytes at once, so that a step costs as much for one token as
for the whole vocabulary: what the grammar's lexer can still read is a regular language, whose derivatives are kept, and
a parser by Earley stands above it (Willard, Louf, "Efficient Guided Generation for Large Language Models", 2023;
llguidance, which does the work here, takes some 50 µs a token for a vocabulary of 128,000).

    regex         Rust's syntax, without looking around: \d{4}-\d{2}, (yes|no)
    json_schema   draft 7 and later, but for not, if, contains, dependencies, propertyNames, uniqueItems
    grammar       GBNF, as in llama.cpp (root ::= ...), or Lark (start: ...)
"""

import json
from functools import lru_cache
from typing import Any

from nextword.core.errors import SettingsError
from nextword.decode.constrain.guide import Guide
from nextword.decode.constrain.vocabulary import Spelling, characters, library, vocabulary
from nextword.decode.settings import CONSTRAINTS, SamplingSettings

KEPT = 32  # compiled grammars
# Between the parts of a JSON text: nothing, a space, or a new line with its indentation. Any amount of white space is
# as valid, but a model that has lost its way would write nothing else.
SPACE = r"[ ]?|\n[ ]{0,40}"
# Every token whose bytes fit is allowed. Otherwise, where the bytes that come are certain, the library would allow only
# the tokens that a tokenizer cuts them into, which is wrong where that puts a space before a text or has no such piece.
HEAD = '%llguidance {"no_forcing": true}\n'


def guide(
    settings: SamplingSettings, tokenizer: Spelling | None, vocab_size: int, eos_ids: tuple[int, ...]
) -> Guide | None:
    """A follower at the beginning of a text; None where the settings constrain nothing.

    SettingsError for a constraint that is malformed, that nothing satisfies, or that no token can begin.
    """
    for name in CONSTRAINTS:
        text = getattr(settings, name)
        if text is not None:
            if tokenizer is None:
                raise SettingsError(f"{name} needs a tokenizer: what tokens stand for decides what may follow")
            return compiled(name, text, tokenizer, vocab_size, eos_ids).fork()
    return None


@lru_cache(maxsize=KEPT)
def compiled(name: str, text: str, tokenizer: Spelling, vocab_size: int, eos_ids: tuple[int, ...]) -> Guide:
    """The constraint called `name`, to be forked for each text."""
    matcher = library().LLMatcher(
        vocabulary(tokenizer, vocab_size, eos_ids), translated(name, text, tokenizer), log_level=0
    )
    if matcher.is_error():
        message = reason(matcher.get_error())
        if "coerce_one_of" in message:
            message = "oneOf is not supported: write anyOf, with branches of which no two can hold together"
        raise SettingsError(f"{name}: {message}")
    found = Guide(matcher, vocab_size, frozenset(eos_ids))
    if int(found.allowed.sum()) == int(found.allowed[list(eos_ids)].sum()):
        raise SettingsError(
            f"{name}: no text of this model's vocabulary satisfies it, nothing can be generated (not with characters "
            "that are in none of its tokens; WordPiece has no spaces)"
        )
    return found


def translated(name: str, text: str, tokenizer: Spelling) -> str:
    """The constraint as a Lark grammar, llguidance's own form; a regular expression without what cannot be spelt."""
    guidance = library()
    match name:
        case "regex":
            whole = json.loads(guidance.LLMatcher.grammar_from_regex(text))["grammars"][0]["lark_grammar"]
            spelt = characters(tokenizer)
            if spelt is None:
                return f"{HEAD}{whole}"
            return f"{HEAD}start: TEXT\nTEXT: {whole.removeprefix('start: ')} & /{spelt}*/"
        case "json_schema":
            options = {"x-guidance": {"whitespace_pattern": SPACE}}
            return f"{HEAD}start: %json {json.dumps(schema(text) | options)}"
    try:
        return HEAD + guidance.gbnf_to_lark.any_to_lark(text).removeprefix("%llguidance {}")
    except Exception as error:  # the library raises nothing more particular
        raise SettingsError(f"grammar: {reason(str(error))}") from None


def schema(text: str) -> dict[str, Any]:
    """A JSON Schema as a tree; whole numbers written with a point ("minLength": 2.0) as whole numbers."""
    try:
        tree = json.loads(text, parse_float=number)
    except (ValueError, RecursionError) as error:
        raise SettingsError(f"json_schema is not JSON: {error}") from None
    if tree is True:
        return {}
    if not isinstance(tree, dict):
        raise SettingsError(f'json_schema must be an object such as {{"type": "object"}}, received {text.strip()[:40]}')
    return tree


def number(text: str) -> int | float:
    """A number with a point, as a whole number where it is one."""
    value = float(text)
    return int(value) if value.is_integer() else value


def reason(message: str) -> str:
    """One line out of a message of the library: of several, those that say what is wrong."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    wrong = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    return "; ".join(wrong or lines[:1])
