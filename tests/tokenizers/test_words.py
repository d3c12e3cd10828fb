"""The table of words gives the library's ids, for all characters there are."""

import unicodedata
from pathlib import Path

import numpy as np
import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import decoders, models, pre_tokenizers

from nextword.tokenizers.base import Tokenizer
from nextword.tokenizers.words import WordTable, cut_of, gpt2_words

TYPE = np.dtype("<u2")
# What the pattern's branches are about: contractions, all sorts of white space, letters, numbers, signs, unassigned.
LETTERS = "'sdtmrelv  \n\t\r\x1c\x85\xa0\u3000aZ9½²!_-ßé中\u0301🙂\U000e0fff"
TRICKY = st.text(st.one_of(st.sampled_from(LETTERS), st.characters(exclude_categories=["Cs"])))


@settings(deadline=None)
@given(texts=st.lists(TRICKY, max_size=4))
def test_the_ids_are_the_librarys(tokenizers_by_kind: dict[str, Tokenizer], texts: list[str]) -> None:
    for kind in ("bpe", "byte", "character", "wordpiece"):
        tokenizer = tokenizers_by_kind[kind]
        rows = WordTable(tokenizer, TYPE).encode_batch(texts)
        assert [np.frombuffer(row, TYPE).tolist() for row in rows] == [tokenizer.encode(text) for text in texts]


def test_every_character_is_classified_as_the_library_does() -> None:
    pattern = pre_tokenizers.ByteLevel(add_prefix_space=False)
    private = {"Co", "Cs", "Cn"}
    wrong = []
    for number in range(0x110000):
        letter = chr(number)
        if unicodedata.category(letter) in private:
            continue
        probe = f"a{letter}1{letter}!{letter}!"  # cut in 6 at a letter, 5 at a number, 7 at white space, else 4
        if (0x3400 < number < 0xD7A4 or number > 0x20000) and number % 9:
            continue  # ideographs and hangul in rows of thousands: every ninth will do
        offsets = [piece for _, piece in pattern.pre_tokenize_str(probe)]
        if [probe[start:stop] for start, stop in offsets] != gpt2_words(probe):
            wrong.append(hex(number))
    assert not wrong


def test_a_full_table_starts_anew(tokenizers_by_kind: dict[str, Tokenizer], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nextword.tokenizers.words.TABLE_WORDS", 2)
    table = WordTable(tokenizers_by_kind["bpe"], TYPE)
    table.encode_batch(["one two three"])
    table.forget()
    assert not table.known
    table.encode_batch(["one two"])
    table.forget()
    assert set(table.known) == {"one", " two"}


def test_other_tokenizers_are_left_to_the_library(tokenizers_by_kind: dict[str, Tokenizer]) -> None:
    for kind in ("wordpiece", "unigram", "word", "character-ngram"):
        assert cut_of(tokenizers_by_kind[kind]) is None
    inner = tokenizers.Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    assert cut_of(Tokenizer(inner, "bpe", False, {})) is None
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.add_tokens(["New York"])
    assert cut_of(Tokenizer(inner, "bpe", False, {})) is None


def gpt2(realdata: Path) -> Tokenizer:
    """GPT-2's own vocabulary and merges, as OpenAI published them."""
    folder = realdata / "tokenizers" / "gpt2"
    model = models.BPE.from_file(str(folder / "encoder.json"), str(folder / "vocab.bpe"))
    inner = tokenizers.Tokenizer(model)
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    inner.add_special_tokens(["<|endoftext|>"])
    end = inner.token_to_id("<|endoftext|>")
    return Tokenizer(inner, "bpe", True, {"bos": end, "eos": end})


def test_gpt2_gives_the_published_ids(realdata: Path) -> None:
    tokenizer = gpt2(realdata)
    cases = realdata / "tokenizers" / "ggml-vocab-gpt-2.gguf.inp"
    texts = cases.read_bytes().decode().split("\n__ggml_vocab_test__\n")
    wanted = [[int(word) for word in line.split()] for line in cases.with_suffix(".out").read_text().split("\n")]
    rows = WordTable(tokenizer, TYPE).encode_batch(texts)
    checked = 0
    for text, row, ids in zip(texts, rows, wanted, strict=False):
        assert np.frombuffer(row, TYPE).tolist() == tokenizer.encode(text) == ids, text
        assert tokenizer.decode(ids) == text
        checked += 1
    assert checked > 40
