"""Places of tokens: bytes add up to the text, characters are those that the tokens were made from."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nextword.core.errors import DataError
from nextword.tokenizers.places import places
from nextword.tokenizers.settings import TokenizerSettings
from nextword.tokenizers.train import train

TEXTS = ["the cat sat on the mat", "the dog sat too"]
BYTES = train(TokenizerSettings(kind="bpe", vocab_size=265, min_frequency=1), iter(TEXTS))


@given(st.text())
def test_bytes_of_a_byte_level_vocabulary_follow_each_other(text: str) -> None:
    found = places(BYTES, text)
    assert [one.id for one in found] == BYTES.encode(text)
    ends = [0, *(one.last_byte for one in found)]
    assert [one.first_byte for one in found] == ends[:-1] and ends[-1] == len(text.encode())
    for one in found:
        assert BYTES.token_bytes(one.id) == text.encode()[one.first_byte : one.last_byte]


def test_parts_of_a_character_share_its_place() -> None:
    found = places(BYTES, "a☕b")  # the cup is three bytes, and tokens of their own here
    assert [one[1:] for one in found] == [(0, 1, 0, 1), (1, 2, 1, 2), (1, 2, 2, 3), (1, 2, 3, 4), (2, 3, 4, 5)]


def test_a_lower_casing_vocabulary_points_into_the_text_as_it_was() -> None:
    text = "The Cat  SAT on"
    lower = train(TokenizerSettings(kind="wordpiece", vocab_size=28, min_frequency=1, lowercase=True), TEXTS)
    found = places(lower, text)
    assert "".join(text[one.start : one.end] for one in found) == "TheCatSATon"
    for one in found:
        assert lower.token(one.id).removeprefix("##") == text[one.start : one.end].lower()
        assert text.encode()[one.first_byte : one.last_byte].decode() == text[one.start : one.end]


def test_half_a_surrogate_is_refused() -> None:
    with pytest.raises(DataError, match="not valid Unicode"):
        places(BYTES, "a\ud83d")
