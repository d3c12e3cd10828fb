"""Every kind: what it promises holds, the same text gives the same vocabulary, and transformers reads the same ids."""

import json
import math
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nextword.core.errors import DataError, SettingsError
from nextword.tokenizers.base import Tokenizer
from nextword.tokenizers.kind import END, find
from nextword.tokenizers.settings import TokenizerSettings
from nextword.tokenizers.train import train

PLANES = [chr(plane << 16 | 0xE9) for plane in range(17)]  # a character of every Unicode plane
SAMPLES = [
    "Hello world, it's   two\n\n\nlines\tand  trailing  ",
    " x",
    "naïve 🙂 café ▁ ## <unk> [UNK] İstanbul\r\n",
    "".join(PLANES),
    "",
]
Trained = dict[str, Tokenizer]


@settings(deadline=None)
@given(text=st.text(max_size=80))
def test_byte_kinds_give_back_every_text(tokenizers_by_kind: Trained, text: str) -> None:
    for kind in ("bpe", "byte"):
        tokenizer = tokenizers_by_kind[kind]
        assert tokenizer.lossless
        assert tokenizer.decode(tokenizer.encode(text)) == text
        assert tokenizer.decode_bytes(tokenizer.encode(text)) == text.encode()


@settings(deadline=None)
@given(data=st.data())
def test_closed_kinds_give_back_texts_of_their_characters(
    tokenizers_by_kind: Trained, corpus: list[str], data: st.DataObject
) -> None:
    alphabet = sorted(set("".join(corpus)) - {"▁"})  # unigram writes spaces so
    text = data.draw(st.text(alphabet, max_size=80))
    for kind in ("character", "character-ngram", "unigram"):
        assert find(kind).lossless == "its own characters"
        tokenizer = tokenizers_by_kind[kind]
        assert tokenizer.decode(tokenizer.encode(text)) == text


@pytest.mark.parametrize("text", [*SAMPLES, *PLANES])
def test_every_plane_survives(tokenizers_by_kind: Trained, text: str) -> None:
    for kind in ("bpe", "byte"):
        assert tokenizers_by_kind[kind].decode(tokenizers_by_kind[kind].encode(text)) == text


@settings(deadline=None)
@given(data=st.binary(max_size=60))
def test_the_byte_kind_is_exact_on_every_byte_string(tokenizers_by_kind: Trained, data: bytes) -> None:
    tokenizer = tokenizers_by_kind["byte"]
    assert tokenizer.decode_bytes(list(data)) == data
    assert [tokenizer.token_bytes(byte) for byte in data] == [bytes([byte]) for byte in data]
    assert (tokenizer.vocab_size, tokenizer.eos_id) == (257, 256)


def test_a_control_token_in_a_text_is_text(tokenizer: Tokenizer) -> None:
    assert tokenizer.eos_id == tokenizer.bos_id == tokenizer.inner.token_to_id(END)
    for text in (END, f"a{END}b", f" {END} ", f"x\n{END}\ny"):
        assert tokenizer.eos_id not in tokenizer.encode(text)
        assert tokenizer.encode_batch([text]) == [tokenizer.encode(text)]
    assert tokenizer.eos_id is not None
    assert tokenizer.decode([tokenizer.eos_id]) == ""


def test_transformers_reads_the_same_ids(tokenizer: Tokenizer, tmp_path: Path, corpus: list[str]) -> None:
    transformers = pytest.importorskip("transformers")
    tokenizer.save(tmp_path)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    texts = [text for text in [*SAMPLES, *corpus[:40]] if "<unk>" not in text]  # they take it for a control token
    for text in texts:
        ids = tokenizer.encode(text)
        assert theirs(text)["input_ids"] == ids
        if tokenizer.unk_id not in ids:
            assert theirs.decode(ids, skip_special_tokens=True) == tokenizer.decode(ids)
    assert (theirs.bos_token_id, theirs.eos_token_id) == (tokenizer.bos_id, tokenizer.eos_id)
    assert (theirs.pad_token_id, theirs.unk_token_id) == (tokenizer.pad_id, tokenizer.unk_id)
    assert len(theirs) == tokenizer.vocab_size


def test_a_saved_tokenizer_is_the_same(tokenizer: Tokenizer, tmp_path: Path) -> None:
    tokenizer.save(tmp_path)
    again = Tokenizer.load(tmp_path)
    assert again.fingerprint == tokenizer.fingerprint
    assert (again.kind, again.lossless, again.vocab_size) == (tokenizer.kind, tokenizer.lossless, tokenizer.vocab_size)
    for text in SAMPLES:
        assert again.encode(text) == tokenizer.encode(text)


@pytest.mark.parametrize("kind", ["bpe", "wordpiece", "unigram", "word"])
def test_another_process_learns_the_same(kind: str, tokenizers_by_kind: Trained, corpus: list[str]) -> None:
    code = (
        "import json, sys; from nextword.tokenizers.train import train; "
        "from nextword.tokenizers.settings import TokenizerSettings as S; "
        "size, kind = json.loads(sys.argv[1]); "
        "print(train(S(kind=kind, vocab_size=size), json.load(sys.stdin)).fingerprint)"
    )
    size = None if kind == "word" else tokenizers_by_kind[kind].vocab_size
    command = [sys.executable, "-c", code, json.dumps([size, kind])]
    result = subprocess.run(command, input=json.dumps(corpus), capture_output=True, text=True, check=True)
    assert result.stdout.strip() == tokenizers_by_kind[kind].fingerprint


def test_subwords_take_apart_what_words_do_not_know() -> None:
    texts = ["mother mother attention attention to the motor of the hotel elm"] * 3
    pieces = train(TokenizerSettings(kind="wordpiece", vocab_size=40), texts)
    assert [pieces.token(number) for number in pieces.encode("mother attention")] == ["mother", "attention"]
    assert len(pieces.encode("attenttionn")) > 2
    letters = train(TokenizerSettings(kind="wordpiece", vocab_size=23), texts)
    assert [letters.token(number) for number in letters.encode("mom")] == ["m", "##o", "##m"]
    assert letters.decode(letters.encode("mom the")) == "mom the"
    words = train(TokenizerSettings(kind="word"), texts)
    assert words.encode("attenttionn") == words.encode("mom") == [words.unk_id]
    ids = words.encode("mother attention hotel")
    assert len(set(ids)) == 3
    assert words.unk_id not in ids


def test_common_words_are_pieces_even_where_words_are_few() -> None:
    people = [(who, what) for who in ("Pearl", "Ann") for what in ("cook", "baker")]
    texts = [f"{who} is a {what} and has a dog. He is {what}." for who, what in people]
    tokenizer = train(TokenizerSettings(kind="unigram", vocab_size=40), texts * 50)
    cut = [tokenizer.token(number) for number in tokenizer.encode("Ann is a cook and has a dog.")]
    assert cut == ["Ann", "▁is", "▁a", "▁cook", "▁and", "▁has", "▁a", "▁dog."]
    scores = dict(json.loads(tokenizer.inner.to_str())["model"]["vocab"])
    assert scores["▁a"] == pytest.approx(math.log(2 / 11), abs=0.01)  # two of the eleven pieces of a text


def test_byte_pairs_are_merged_by_frequency() -> None:
    tokenizer = train(TokenizerSettings(vocab_size=259), ["aaab aaab aab b"])
    # pairs in words: aa 5 (2 + 2 + 1 with overlaps), then what the first merge leaves most often
    assert tokenizer.token(257) == "aa"
    assert [tokenizer.token_bytes(number) for number in tokenizer.encode("aab")][0] == b"aa"


def test_character_ngrams_fall_apart_where_they_are_rare() -> None:
    tokenizer = train(TokenizerSettings(kind="character-ngram", ngram=2, vocab_size=8), ["ababab abcd"])
    # six characters of "abcd " and control tokens leave one place: the most frequent pair
    assert [tokenizer.token(number) for number in tokenizer.encode("abdaab")] == ["ab", "d", "a", "ab"]


def test_characters_beyond_the_alphabet_are_unknown() -> None:
    tokenizer = train(TokenizerSettings(kind="character"), ["abca"])
    assert tokenizer.vocab_size == 5
    assert tokenizer.encode("abd") == [2, 3, tokenizer.unk_id]
    assert tokenizer.decode(tokenizer.encode("abd")) == "ab<unk>"
    frequent = train(TokenizerSettings(kind="character", vocab_size=3), ["abca"])
    assert frequent.encode("abc") == [2, frequent.unk_id, frequent.unk_id]


def test_lowercase_is_said_to_lose(corpus: list[str]) -> None:
    tokenizer = train(TokenizerSettings(vocab_size=300, lowercase=True), corpus)
    assert not tokenizer.lossless
    assert tokenizer.decode(tokenizer.encode("The CAT")) == "the cat"


SMALL = ["the cat sat on the mat, the rat sat on the cat"] * 3


@pytest.mark.parametrize(
    ("kind", "texts", "size", "error", "message"),
    [
        (
            "bpe",
            SMALL,
            5000,
            DataError,
            r"larger than this corpus allows: it gives (\d+); use --tokenizer.vocab-size=\1",
        ),
        ("wordpiece", SMALL, 5000, DataError, r"it gives (\d+); use --tokenizer.vocab-size=\1 or less"),
        ("unigram", SMALL, 5000, DataError, r"it gives (\d+); use --tokenizer.vocab-size=\1 or less"),
        ("word", SMALL, 5000, DataError, r"it gives 9; use"),
        ("character", SMALL, 5000, DataError, r"it gives 14; use"),
        ("character-ngram", SMALL, 5000, DataError, r"it gives (\d+); use"),
        ("bpe", SMALL, 256, SettingsError, "the 256 bytes and <|endoftext|> need 257".replace("|", r"\|")),
        ("wordpiece", SMALL, 5, SettingsError, r"need (\d+); use --tokenizer.vocab-size=\1 or more"),
        ("unigram", SMALL, 5, SettingsError, r"need 14; use --tokenizer.vocab-size=14 or more"),
        ("character-ngram", SMALL, 5, SettingsError, r"need 14; use --tokenizer.vocab-size=14 or more"),
        ("byte", SMALL, 300, SettingsError, "no effect on the kind 'byte'"),
    ],
)
def test_sizes_that_do_not_fit(
    kind: str, texts: Sequence[str], size: int, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message) as raised:
        train(TokenizerSettings(kind=kind, vocab_size=size), texts)
    found = str(raised.value).rsplit("--tokenizer.vocab-size=", 1)
    if len(found) == 2:  # the size that the error names is one that works
        named = int(found[1].split()[0])
        assert train(TokenizerSettings(kind=kind, vocab_size=named), texts).vocab_size == named


@pytest.mark.parametrize("kind", ["bpe", "wordpiece", "unigram", "word", "character", "character-ngram", "byte"])
@pytest.mark.parametrize("texts", [[], [""], ["", ""]])
def test_no_text_at_all(kind: str, texts: list[str]) -> None:
    with pytest.raises(DataError, match="there is no text to train a tokenizer on"):
        train(TokenizerSettings(kind=kind), texts)


def test_a_corpus_of_one_byte() -> None:
    with pytest.raises(DataError, match="it gives 257; use --tokenizer.vocab-size=257 or less, or give more text"):
        train(TokenizerSettings(), ["a"])
    for kind, size in (("bpe", 257), ("word", 3), ("character", 3), ("byte", 257), ("character-ngram", 3)):
        tokenizer = train(TokenizerSettings(kind=kind), ["a"]) if kind != "bpe" else None
        tokenizer = tokenizer or train(TokenizerSettings(vocab_size=257), ["a"])
        assert tokenizer.vocab_size == size
        assert tokenizer.decode(tokenizer.encode("a")) == "a"


def test_settings_that_cannot_be_meant() -> None:
    with pytest.raises(SettingsError, match="did you mean 'wordpiece'"):
        TokenizerSettings(kind="wordpeice")
    with pytest.raises(SettingsError, match="vocab_size must be"):
        TokenizerSettings(vocab_size=2)
    with pytest.raises(SettingsError, match="ngram must be"):
        TokenizerSettings(kind="character-ngram", ngram=1)
    with pytest.raises(SettingsError, match="tokenizer.ngram has no effect on the kind 'bpe'"):
        train(TokenizerSettings(ngram=3), SMALL)


def test_halves_of_characters_are_refused(tokenizer: Tokenizer) -> None:
    with pytest.raises(DataError, match=r"surrogate pair \(U\+D800\) at character 2"):
        tokenizer.encode("ab\ud800c")
    with pytest.raises(DataError, match=r"surrogate pair \(U\+DFFF\) at character 0"):
        tokenizer.encode_batch(["fine", "\udfff"])
    with pytest.raises(DataError, match="surrogate"):
        train(TokenizerSettings(kind="character"), ["a", "\ud800"])


def test_wordpiece_reads_twice(corpus: list[str]) -> None:
    with pytest.raises(DataError, match="reads the texts 2 times"):
        train(TokenizerSettings(kind="wordpiece"), iter(corpus))
    once = train(TokenizerSettings(vocab_size=300), iter(corpus))
    assert once.fingerprint == train(TokenizerSettings(vocab_size=300), corpus).fingerprint


def test_tiny_shakespeare_has_65_characters(realdata: Path) -> None:
    text = (realdata / "text" / "tinyshakespeare.txt").read_text()
    tokenizer = train(TokenizerSettings(kind="character"), [text])
    assert tokenizer.vocab_size == 65 + 2  # <|endoftext|> and <unk>
    assert tokenizer.decode(tokenizer.encode(text[:5000])) == text[:5000]
