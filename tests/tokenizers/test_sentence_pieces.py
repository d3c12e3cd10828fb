"""SentencePiece's models: the ids of its own library where that is installed, of its rules by hand where not."""

import json
import random
import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nextword.core.errors import DataError
from nextword.tokenizers.base import Tokenizer
from nextword.tokenizers.formats.sentence_pieces import BPE, BYTE, CONTROL, NORMAL, UNIGRAM, UNKNOWN, USER, parse
from nextword.tokenizers.wire import fields

Piece = tuple[str, float, int]
CONTROLS: list[Piece] = [("<unk>", 0.0, UNKNOWN), ("<s>", 0.0, CONTROL), ("</s>", 0.0, CONTROL)]
BYTES: list[Piece] = [(f"<0x{byte:02X}>", 0.0, BYTE) for byte in range(256)]


def varint(number: int) -> bytes:
    number &= (1 << 64) - 1
    out = b""
    while number > 127:
        out, number = out + bytes([number & 127 | 128]), number >> 7
    return out + bytes([number])


def chunk(name: int, data: bytes) -> bytes:
    return varint(name << 3 | 2) + varint(len(data)) + data


def number(name: int, value: int) -> bytes:
    return varint(name << 3) + varint(value)


def write(folder: Path, pieces: list[Piece], kind: int, family: str = "", spec: bytes = b"", norm: bytes = b"") -> Path:
    data = b"".join(
        chunk(1, chunk(1, text.encode()) + varint(2 << 3 | 5) + struct.pack("<f", score) + number(3, form))
        for text, score, form in pieces
    )
    data += chunk(2, number(3, kind) + number(43, -1) + spec) + chunk(3, norm)
    (folder / "tokenizer.model").write_bytes(data)
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": family}))
    return folder


def scored(*pieces: str) -> list[Piece]:
    return [(piece, -float(rank), NORMAL) for rank, piece in enumerate(pieces)]


@pytest.fixture
def llama(tmp_path: Path) -> Path:
    pieces = scored("▁t", "he", "▁the", "▁▁", "▁", "t", "h", "e", "a")
    plain = number(4, 0)  # spaces in a row stay
    return write(tmp_path, [*CONTROLS, *BYTES, *pieces], BPE, "LlamaTokenizer", number(35, 1), plain)


def test_bpe_with_bytes_by_hand(llama: Path) -> None:
    ours = Tokenizer.load(llama)
    names = lambda text: [ours.token(i) for i in ours.encode(text)]  # noqa: E731
    assert names("the") == ["▁the"]  # a space is put in front; "▁t" first, then "he", then both
    assert names(" the") == ["▁", "▁the"]  # "▁t" has a higher score than "▁▁"
    assert names("é") == ["▁", "<0xC3>", "<0xA9>"]
    assert "<s>" not in names("<s>")  # letters in a text are text
    assert ours.decode(ours.encode("the <s> é  a")) == "the <s> é  a"
    assert ours.framed(ours.encode("the")) == [1, *ours.encode("the")]
    assert (ours.bos_id, ours.eos_id, ours.unk_id, ours.pad_id) == (1, 2, 0, None)
    assert "".join(map(ours.token, ours.encode("漢" * 2))) == "▁" + "<0xE6><0xBC><0xA2>" * 2


@settings(max_examples=60, deadline=None)
@given(text=st.text(max_size=40))
def test_bytes_keep_every_text(text: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("spm")
    pieces = [*CONTROLS, *BYTES, *scored("▁", "a", "▁a")]
    ours = Tokenizer.load(write(folder, pieces, BPE, "LlamaTokenizer", number(35, 1), number(4, 0)))
    assert ours.decode(ours.encode(text)) == text.replace("▁", " ")


def test_unigram_takes_the_largest_sum(tmp_path: Path) -> None:
    pieces = [
        ("▁", -1.0, NORMAL),
        ("a", -2.0, NORMAL),
        ("b", -2.0, NORMAL),
        ("▁ab", -6.0, NORMAL),
        ("ab", -3.5, NORMAL),
    ]
    ours = Tokenizer.load(write(tmp_path, [*CONTROLS, *pieces], UNIGRAM, "T5Tokenizer"))
    assert [ours.token(i) for i in ours.encode("  ab  ab ")] == ["▁", "ab", "▁", "ab"]  # -4.5 beats -5 and -6
    assert ours.unk_id in ours.encode("z")
    assert ours.token(8) == "<extra_id_99>" and ours.vocab_size == 108
    assert ours.framed(ours.encode("ab"))[-1] == ours.eos_id == 2
    assert 1 not in ours.encode("a<s>b")


def test_xlm_r_shifts_its_ids(tmp_path: Path) -> None:
    folder = write(tmp_path, [*CONTROLS, *scored("▁", "a", "b")], UNIGRAM, "XLMRobertaTokenizer")
    ours = Tokenizer.load(folder)
    assert [ours.token(i) for i in range(8)] == ["<s>", "<pad>", "</s>", "<unk>", "▁", "a", "b", "<mask>"]
    assert ours.framed(ours.encode("ab")) == [0, 4, 5, 6, 2]
    assert (ours.pad_id, ours.unk_id, ours.mask_id) == (1, 3, 7)


def test_pieces_of_the_user_stay_whole(tmp_path: Path) -> None:
    pieces = [*CONTROLS, ("<sep>", 0.0, USER), *scored("▁a", "▁", "a", "<", "s", "e", "p", ">")]
    ours = Tokenizer.load(write(tmp_path, pieces, BPE, "", b"", number(3, 0)))
    assert [ours.token(i) for i in ours.encode("a<sep> a")] == ["a", "<sep>", "▁a"]


@pytest.mark.parametrize("name", ["bpe", "unigram", "unigram-bytes", "user"])
def test_the_ids_are_those_of_sentencepiece(tmp_path: Path, corpus: list[str], name: str) -> None:
    spm = pytest.importorskip("sentencepiece", reason="the sentencepiece package is the oracle of this test")
    options = {
        "bpe": {"model_type": "bpe", "byte_fallback": True, "remove_extra_whitespaces": False},
        "unigram": {"model_type": "unigram"},
        "unigram-bytes": {"model_type": "unigram", "byte_fallback": True},
        "user": {"model_type": "bpe", "user_defined_symbols": ["<sep>", "the"], "add_dummy_prefix": False},
    }[name]
    (tmp_path / "corpus.txt").write_text("\n".join(corpus))
    target = str(tmp_path / "tokenizer")
    spm.SentencePieceTrainer.train(
        input=str(tmp_path / "corpus.txt"), model_prefix=target, vocab_size=600, minloglevel=2, **options
    )
    theirs, ours = spm.SentencePieceProcessor(model_file=target + ".model"), Tokenizer.load(tmp_path)
    draw = random.Random(0)
    letters = "aabcdetheins     \n\t.,'ïé漢①ﬁ🙂<s>▁_0159A"
    for _ in range(500):
        text = "".join(draw.choices(letters, k=draw.randint(0, 30)))
        assert ours.encode(text) == theirs.encode(text), text


@pytest.mark.parametrize(
    ("pieces", "kind", "spec", "family", "message"),
    [
        ([*CONTROLS, *scored("a", "b", "a")], BPE, b"", "", "'a' has two ids, 3 and 5"),
        (CONTROLS, 4, b"", "", "model type 4"),
        ([*CONTROLS, *BYTES[:-1]], BPE, number(35, 1), "", "has 255 of them"),
        ([*CONTROLS, ("", 0.0, NORMAL)], BPE, b"", "", "piece 3 is no text"),
        ([*CONTROLS, ("a", float("nan"), NORMAL)], BPE, b"", "", "piece 3 is no text"),
        (CONTROLS, BPE, chunk(40, b"x"), "", "where a whole number belongs"),
        (CONTROLS, BPE, number(40, 99), "", "none for the unknown"),
        (CONTROLS, BPE, number(24, 1), "", "writes spaces in another way"),
        (CONTROLS, BPE, b"", "CamembertTokenizer", "belongs to camembert"),
    ],
)
def test_models_that_cannot_be_read(
    tmp_path: Path, pieces: list[Piece], kind: int, spec: bytes, family: str, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        Tokenizer.load(write(tmp_path, pieces, kind, family, spec))


def test_a_truncated_file_is_refused_wherever_it_ends(llama: Path) -> None:
    data = (llama / "tokenizer.model").read_bytes()
    whole = parse(data, "it").pieces
    for end in range(1, 400):
        try:
            assert parse(data[:end], "it").pieces == whole[: len(parse(data[:end], "it").pieces)]
        except DataError as error:
            assert "truncated" in str(error)
    (llama / "tokenizer.model").write_bytes(chunk(1, chunk(1, b"a")) * 2)
    with pytest.raises(DataError, match="ends behind its piece 2"):  # cut between two pieces
        Tokenizer.load(llama)


@settings(max_examples=200, deadline=None)
@given(data=st.binary(max_size=60))
def test_the_reader_gives_fields_or_an_error(data: bytes) -> None:
    try:
        for name, value in fields(data, "it"):
            assert name > 0 and (not isinstance(value, bytes) or value in data)
    except DataError as error:
        assert "it is" in str(error)


def test_wire_values_by_hand() -> None:
    data = bytes.fromhex("08 96 01  12 02 68 69  1d 00 00 80 3f  20 ff ff ff ff ff ff ff ff ff 01")
    assert list(fields(data, "it")) == [(1, 150), (2, b"hi"), (3, 1.0), (4, -1)]
