"""Cutting a text changes no id."""

import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Regex, models, normalizers, pre_tokenizers

from nextword.tokenizers.base import Tokenizer
from nextword.tokenizers.cuts import pieces, rule
from nextword.tokenizers.settings import TokenizerSettings
from nextword.tokenizers.train import train

# Texts in which every kind of neighbour of a space or newline occurs.
SPACED = "   \n\n\t\r\xa0\u3000\x1c'sta9!▁中éİ\u0301"
TEXTS = st.text(st.one_of(st.sampled_from(SPACED), st.characters(exclude_categories=["Cs"])), max_size=60)


@settings(deadline=None)
@given(text=TEXTS, size=st.integers(1, 12))
def test_pieces_have_the_ids_of_the_whole(tokenizers_by_kind: dict[str, Tokenizer], text: str, size: int) -> None:
    for kind, tokenizer in tokenizers_by_kind.items():
        find = rule(tokenizer)
        assert find is not None
        parts = list(pieces(text, size, find))
        assert "".join(parts) == text
        assert [number for part in parts for number in tokenizer.encode(part)] == tokenizer.encode(text), kind
        assert sum(len(part.split()) for part in parts) == len(text.split()) or kind in {
            "byte", "character", "character-ngram",
        }  # fmt: skip


@settings(deadline=None)
@given(text=TEXTS, size=st.integers(1, 12))
def test_lower_case_too(lowered: list[Tokenizer], text: str, size: int) -> None:
    for tokenizer in lowered:
        parts = pieces(text, size, rule(tokenizer))
        assert [number for part in parts for number in tokenizer.encode(part)] == tokenizer.encode(text)


@pytest.fixture(scope="module")
def lowered(corpus: list[str]) -> list[Tokenizer]:
    kinds = {"bpe": 300, "unigram": 200, "character": None, "character-ngram": 300}
    made = [
        train(TokenizerSettings(kind=kind, vocab_size=size, lowercase=True), corpus) for kind, size in kinds.items()
    ]
    assert rule(made[-1]) is None  # lower-casing İ gives two characters: multiples of n would move
    return made


def test_long_texts_are_cut_near_the_size(tokenizers_by_kind: dict[str, Tokenizer], corpus: list[str]) -> None:
    text = "\n".join(corpus)
    longest = max(map(len, pieces(text, 1000, rule(tokenizers_by_kind["bpe"]))))
    assert 1000 <= longest < 1100
    assert list(pieces("x" * 5000, 1000, rule(tokenizers_by_kind["bpe"]))) == ["x" * 5000]
    assert list(pieces("", 10, rule(tokenizers_by_kind["bpe"]))) == [""]


@pytest.mark.parametrize("case", ["llama3", "prefix", "added", "normalizer"])
def test_what_is_not_known_to_be_safe_is_not_cut(case: str) -> None:
    inner = tokenizers.Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=case == "prefix")
    if case == "llama3":
        split = pre_tokenizers.Split(Regex(r"\s*[\r\n]+|\s+(?!\S)|\s+|\p{L}+"), "isolated")
        inner.pre_tokenizer = pre_tokenizers.Sequence([split, inner.pre_tokenizer])
    if case == "added":
        inner.add_tokens(["a\nb"])
    if case == "normalizer":
        inner.normalizer = normalizers.NFC()
    assert rule(Tokenizer(inner, "bpe", False, {})) is None
