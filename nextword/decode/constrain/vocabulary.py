"""The vocabulary as a grammar sees it: what bytes each token stands for.

A grammar speaks of characters, a model of tokens; between them stand bytes. Every token is taken as the bytes that it
stands for in the middle of a text (`Tokenizer.token_bytes`), whatever the vocabulary's kind: "Ġthe" is " the", "▁the"
is " the", "<0xE2>" is one byte, "##ing" is "ing". What is generated under a grammar is these bytes one after the other.
So a vocabulary of whole words, whose decoder puts spaces between tokens, gives no spaces under a grammar, as it gives
no character that is in none of its tokens.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Protocol

from nextword.core.errors import missing_extra

KEPT = 4  # vocabularies, of models that are served at the same time


class Spelling(Protocol):
    """What is needed of a tokenizer."""

    vocab_size: int
    specials: frozenset[int]
    unk_id: int | None

    def token_bytes(self, number: int) -> bytes:
        """The bytes of text that the token stands for in the middle of a text."""
        ...


class Tokens:
    """A vocabulary in the words of llguidance (its `TokenizerWrapper`)."""

    bos_token_id = None

    def __init__(self, tokenizer: Spelling, size: int, eos_ids: Sequence[int]) -> None:
        without_text = {*tokenizer.specials, *eos_ids} | ({tokenizer.unk_id} - {None})
        self.special_token_ids = sorted(number for number in without_text if number < size)
        self.eos_token_id = eos_ids[0]
        self.tokens = [b""] * size
        for number in range(min(size, tokenizer.vocab_size)):
            self.tokens[number] = tokenizer.token_bytes(number)
        for number in self.special_token_ids:
            self.tokens[number] = b"<%d>" % number

    def __call__(self, text: str) -> list[int]:
        """Nothing: the library asks for the ids of a text only where it would force them."""
        return []


def library() -> Any:
    """llguidance; SettingsError naming the command that installs it."""
    try:
        import llguidance  # noqa: PLC0415 - optional
        import llguidance.gbnf_to_lark  # noqa: PLC0415
    except ImportError:
        raise missing_extra("llguidance", "constrain") from None
    return llguidance


@lru_cache(maxsize=KEPT)
def characters(tokenizer: Spelling) -> str | None:
    """The characters of all tokens as a class of a regular expression; None where tokens can spell any text."""
    without_text = {*tokenizer.specials, tokenizer.unk_id}
    spelt = {tokenizer.token_bytes(number) for number in range(tokenizer.vocab_size) if number not in without_text}
    if all(bytes([byte]) in spelt for byte in range(256)):
        return None
    found = sorted({character for token in spelt for character in token.decode(errors="ignore")})
    return "[" + "".join(rf"\x{{{ord(character):X}}}" for character in found) + "]"


@lru_cache(maxsize=KEPT)
def vocabulary(tokenizer: Spelling, vocab_size: int, eos_ids: tuple[int, ...]) -> Any:
    """The `LLTokenizer` of a tokenizer for scores of `vocab_size` tokens.

    Where no token ends a text, there is one more for the library, which cannot do without.
    """
    guidance = library()
    ends, size = (list(eos_ids), vocab_size) if eos_ids else ([vocab_size], vocab_size + 1)
    tokens = guidance.TokenizerWrapper(Tokens(tokenizer, size, ends))
    return guidance.LLTokenizer(tokens, n_vocab=size, eos_token=ends)
