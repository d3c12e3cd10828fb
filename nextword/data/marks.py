"""The special tokens that forms put around, between and in place of text, and which tokens join to words.

[CLS] text [SEP] text [SEP]                    an encoder's sentences; [MASK] hides a token
source: a <extra_id_0> c </s>                  a sentinel stands for what was taken out
<|fim_prefix|> a <|fim_suffix|> c <|fim_middle|> b
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nextword.core.errors import SettingsError
from nextword.tokenizers.base import Tokenizer
from nextword.tokenizers.names import FIM, SENTINEL

SENTENCE_ENDS = (".", "!", "?", "\n")
CLOSING = "\"')]}”’»"  # may stand behind the sign that ends a sentence


@dataclass(frozen=True)
class Marks:
    """Ids of special tokens; None, or empty, where the tokenizer has none.

    specials: all of them, none of which is ever hidden or put in place of text. sentinels: in order. infill: before the
    prefix, the suffix and the middle.
    """

    vocab_size: int
    specials: tuple[int, ...] = ()
    cls: int | None = None
    sep: int | None = None
    mask: int | None = None
    pad: int | None = None
    bos: int | None = None
    eos: int | None = None
    sentinels: tuple[int, ...] = ()
    infill: tuple[int, int, int] | None = None

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> "Marks":
        """Those of a tokenizer."""
        found = [tokenizer.special_id(name) for name in FIM]
        sentinels: list[int] = []
        while (number := tokenizer.special_id(SENTINEL.format(len(sentinels)))) is not None:
            sentinels.append(number)
        specials = tokenizer.specials | ({tokenizer.unk_id} if tokenizer.unk_id is not None else set())
        return cls(
            vocab_size=tokenizer.vocab_size,
            specials=tuple(sorted(specials)),
            cls=tokenizer.cls_id,
            sep=tokenizer.sep_id,
            mask=tokenizer.mask_id,
            pad=tokenizer.pad_id,
            bos=tokenizer.bos_id if tokenizer.bos_id is not None else tokenizer.eos_id,
            eos=tokenizer.eos_id,
            sentinels=tuple(sentinels),
            infill=(found[0], found[1], found[2]) if None not in found else None,  # type: ignore[arg-type]
        )

    @property
    def fill(self) -> int:
        """What stands where nothing is: the padding token, or any valid id."""
        return self.pad if self.pad is not None else self.eos or 0

    def ordinary(self) -> NDArray[np.int64]:
        """The ids that stand for text."""
        return np.setdiff1d(np.arange(self.vocab_size), self.specials)

    def hides(self) -> NDArray[np.bool_]:
        """By id, whether it is special, (V,)."""
        table = np.zeros(self.vocab_size, np.bool_)
        table[list(self.specials)] = True
        return table


def needed(number: int | None, what: str, purpose: str) -> int:
    """The id of a special token; SettingsError that names the command which makes a tokenizer with it."""
    if number is None:
        raise lacking(what, purpose)
    return number


def lacking(what: str, purpose: str) -> SettingsError:
    """The error for a tokenizer without the special tokens of an objective."""
    return SettingsError(
        f"this objective needs {what}, which the tokenizer of these tokens lacks: make one with "
        f"`nextword tokenizer train --for {purpose} ...` and tokenise the text again with it"
    )


@dataclass(frozen=True)
class Joints:
    """By id, (V,): whether a token may go on a word (`right`), and whether a word may go on behind it (`left`).

    A token belongs to the word of the token before it where both are true.
    """

    left: NDArray[np.bool_]
    right: NDArray[np.bool_]

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> "Joints":
        """Of a tokenizer's vocabulary, from how its tokens are written."""
        size = tokenizer.vocab_size
        left, right = np.zeros(size, np.bool_), np.zeros(size, np.bool_)
        model = tokenizer.spec["model"]
        prefix = model.get("continuing_subword_prefix") if model["type"] == "WordPiece" else None
        for number in range(size):
            if number in tokenizer.specials:
                continue
            if prefix:
                left[number], right[number] = True, tokenizer.token(number).startswith(prefix)
            else:
                text = tokenizer.token_bytes(number)
                left[number], right[number] = _of_a_word(text[-1:]), _of_a_word(text[:1])
        return cls(left, right)

    def words(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """The number of the word, from 0, that each token belongs to."""
        begins = np.ones(len(ids), np.bool_)
        begins[1:] = ~(self.left[ids[:-1]] & self.right[ids[1:]])
        number: NDArray[np.int64] = np.cumsum(begins) - 1
        return number


def _of_a_word(byte: bytes) -> bool:
    """Whether a byte of UTF-8 is one of a word: a letter, a digit, or part of a character beyond ASCII."""
    return bool(byte) and (byte[0] >= 0x80 or byte.isalnum())


def sentence_ends(tokenizer: Tokenizer) -> NDArray[np.bool_]:
    """By id, (V,), whether a sentence may end with the token."""
    found = np.zeros(tokenizer.vocab_size, np.bool_)
    for number in range(tokenizer.vocab_size):
        if number not in tokenizer.specials:
            text = tokenizer.token_bytes(number).decode(errors="replace").rstrip(" ").rstrip(CLOSING)
            found[number] = text.endswith(SENTENCE_ENDS)
    return found
