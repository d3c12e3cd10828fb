"""Tokens: how a text is cut, token by token.

text = t₁ t₂ … t_n          n tokens for so many characters: the fewer, the better the vocabulary fits the text
"""

from typing import Any

from nextword.serve.bodies import Strict
from nextword.serve.errors import Refusal
from nextword.serve.looking import shown
from nextword.serve.service import Served
from nextword.tokenizers.places import places

CHARACTERS = 20_000  # of a text: as many as a page can show as elements of their own


class Body(Strict):
    """The text to be cut."""

    text: str


def look(served: Served, body: Body) -> dict[str, Any]:
    """Every token with its id and its place in characters and bytes; those of the model's frame are not among them."""
    if len(body.text) > CHARACTERS:
        raise Refusal(400, f"the text has {len(body.text)} characters: give at most {CHARACTERS}", param="text")
    found = places(served.tokenizer, body.text)
    return {
        "tokens": [
            {"shown": shown(served.tokenizer, one.id), "name": served.tokenizer.token(one.id), **one._asdict()}
            for one in found
        ],
        "characters": len(body.text),
        "bytes": len(body.text.encode()),
        "vocab_size": served.tokenizer.vocab_size,
    }
