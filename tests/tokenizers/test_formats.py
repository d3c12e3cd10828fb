"""Vocabularies from before tokenizer.json: the ids of transformers, and an error for each way to be broken."""

import base64
import json
import sys
from pathlib import Path

import pytest

from nextword.core.errors import DataError
from nextword.tokenizers.base import Tokenizer
from nextword.tokenizers.bytelevel import CHARACTER_OF
from nextword.tokenizers.formats.ranks import merges_of

TEXTS = ["the cat sat", " The CAT's 1234\n\n  naïve 🙂 漢字", "", "a\u0301 <s> </s> [CLS] <|endoftext|>", "\t\r\n x"]
CASES = "\n__ggml_vocab_test__\n"


@pytest.fixture(scope="session")
def pairs(tokenizers_by_kind: dict[str, Tokenizer]) -> tuple[dict[str, int], list[list[str]]]:
    """Vocabulary and merges of a small byte-level tokenizer, without control tokens in front."""
    model = json.loads(tokenizers_by_kind["bpe"].inner.to_str())["model"]
    return model["vocab"], model["merges"]


def write_pairs(folder: Path, vocab: dict[str, int], merges: list[list[str]], **config: object) -> Path:
    (folder / "vocab.json").write_text(json.dumps(vocab))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges))
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


def test_gpt2_files_are_as_transformers_reads_them(tmp_path: Path, pairs) -> None:  # type: ignore[no-untyped-def]
    from transformers import GPT2Tokenizer

    folder = write_pairs(tmp_path, *pairs)
    ours, theirs = Tokenizer.load(folder), GPT2Tokenizer.from_pretrained(folder, split_special_tokens=True)
    for text in TEXTS:
        assert ours.encode(text) == theirs(text)["input_ids"]
        assert ours.decode(ours.encode(text)) == text
    assert ours.lossless and ours.bos_id == ours.eos_id == pairs[0]["<|endoftext|>"]
    assert ours.decode([ours.eos_id, *ours.encode("the")]) == "the"  # the control token has no text


def test_the_names_that_openai_gave_them(tmp_path: Path, pairs) -> None:  # type: ignore[no-untyped-def]
    write_pairs(tmp_path, *pairs)
    wanted = Tokenizer.load(tmp_path).encode(TEXTS[1])
    (tmp_path / "vocab.json").rename(tmp_path / "encoder.json")
    (tmp_path / "merges.txt").rename(tmp_path / "vocab.bpe")
    assert Tokenizer.load(tmp_path).encode(TEXTS[1]) == wanted


def test_roberta_begins_and_ends_its_texts_once(tmp_path: Path, pairs) -> None:  # type: ignore[no-untyped-def]
    from transformers import RobertaTokenizer

    names = ["<s>", "<pad>", "</s>", "<unk>"]
    vocab = {name: number for number, name in enumerate(names)}
    vocab |= {token: number + 4 for token, number in pairs[0].items()}
    vocab["<mask>"] = len(vocab)
    folder = write_pairs(tmp_path, vocab, pairs[1], tokenizer_class="RobertaTokenizer")
    ours, theirs = Tokenizer.load(folder), RobertaTokenizer.from_pretrained(folder)
    for text in TEXTS[:3]:
        framed = ours.framed(ours.encode(text))
        assert framed == theirs(text)["input_ids"] == ours.framed(framed)
    assert (ours.cls_id, ours.sep_id, ours.mask_id, ours.pad_id) == (0, 2, vocab["<mask>"], 1)
    assert ours.encode("<s>") != [0]  # a text that contains the letters is text


def test_add_bos_token_is_honoured_and_survives_saving(tmp_path: Path, pairs) -> None:  # type: ignore[no-untyped-def]
    folder = write_pairs(tmp_path, *pairs, add_bos_token=True, bos_token="<|endoftext|>")
    ours = Tokenizer.load(folder)
    ids = ours.encode("the cat")
    assert ours.framed(ids) == [ours.bos_id, *ids] == ours.framed(ours.framed(ids))
    ours.save(tmp_path / "saved")
    assert Tokenizer.load(tmp_path / "saved").framed(ids) == [ours.bos_id, *ids]
    write_pairs(tmp_path, *pairs, add_bos_token=False)
    assert Tokenizer.load(folder).framed(ids) == ids
    write_pairs(tmp_path, *pairs, add_bos_token="yes")
    with pytest.raises(DataError, match="add_bos_token"):
        Tokenizer.load(folder)


@pytest.mark.parametrize(
    "config",
    [{}, {"do_lower_case": False}, {"do_lower_case": False, "strip_accents": True}, {"tokenize_chinese_chars": False}],
)
def test_bert_files_are_as_transformers_reads_them(tmp_path: Path, config: dict[str, bool]) -> None:
    from transformers import BertTokenizer

    words = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        "the",
        "The",
        "cat",
        "na",
        "##ive",
        "##ïve",
        "漢",
        "##字",
        "字",
    ]
    (tmp_path / "vocab.txt").write_text("\n".join(words) + "\n")
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "BertTokenizer", **config}))
    ours, theirs = Tokenizer.load(tmp_path), BertTokenizer.from_pretrained(tmp_path)
    for text in ("The cat, THE naïve 漢字 cat", "the\u00a0cat\u0000", "naïve Naive", ""):
        assert ours.framed(ours.encode(text)) == theirs(text)["input_ids"]
    assert (ours.pad_id, ours.unk_id, ours.cls_id, ours.sep_id, ours.mask_id) == (0, 1, 2, 3, 4)
    assert not ours.lossless


def ranks_of(words: list[bytes]) -> dict[bytes, int]:
    return {token: rank for rank, token in enumerate([*(bytes([byte]) for byte in range(256)), *words])}


def write_ranks(folder: Path, ranks: dict[bytes, int], name: str = "cl100k_base.tiktoken") -> Path:
    lines = [f"{base64.b64encode(token).decode()} {rank}\n" for token, rank in ranks.items()]
    (folder / name).write_text("".join(lines))
    return folder


def by_definition(word: bytes, ranks: dict[bytes, int]) -> list[int]:
    """tiktoken's rule written down: join the neighbours whose union has the lowest rank, the leftmost first."""
    parts = [bytes([byte]) for byte in word]
    while True:
        found = [
            (ranks[a + b], place) for place, (a, b) in enumerate(zip(parts, parts[1:], strict=False)) if a + b in ranks
        ]
        if not found:
            return [ranks[part] for part in parts]
        place = min(found)[1]
        parts[place : place + 2] = [parts[place] + parts[place + 1]]


def test_ranks_are_merged_lowest_first(tmp_path: Path) -> None:
    ranks = ranks_of([b"bc", b"ab", b"abc", b"cd", b"abcd", b"ca", b"bcab"])
    assert merges_of(ranks)[:3] == [(b"b", b"c"), (b"a", b"b"), (b"a", b"bc")]
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"pattern": r"\s+|\S+"}))
    ours = Tokenizer.load(write_ranks(tmp_path, ranks, "own.tiktoken"))
    for word in ("abc", "abcd", "bcabcd", "cabcabcdab", "aabbccdd"):
        assert ours.encode(word) == by_definition(word.encode(), ranks)
    everything = "".join(chr(code) for code in range(0, sys.maxunicode, 997) if not 0xD800 <= code < 0xE000)
    assert ours.lossless and ours.decode(ours.encode(everything)) == everything


def test_a_long_text_without_spaces_takes_linear_time(tmp_path: Path) -> None:
    import time

    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"pattern": r"\s+|\S+"}))
    ours = Tokenizer.load(write_ranks(tmp_path, ranks_of([b"ab", b"abab", b"ba"]), "own.tiktoken"))
    times = []
    for length in (1 << 17, 1 << 20):
        start = time.perf_counter()
        assert len(ours.encode("ab" * (length // 2))) == length // 4
        times.append(time.perf_counter() - start)
    assert times[1] < 30 * times[0] + 0.5  # 8 times the text; a quadratic rule would take 64 times as long


def test_a_text_that_is_not_unicode_is_refused(tmp_path: Path) -> None:
    ours = Tokenizer.load(write_ranks(tmp_path, ranks_of([])))
    with pytest.raises(DataError, match="surrogate"):
        ours.encode("a\ud800b")


def test_broken_pairs(tmp_path: Path, pairs) -> None:  # type: ignore[no-untyped-def]
    vocab, merges = pairs
    cases = [
        ({**vocab, "the": vocab["is"]}, merges, "belongs to both"),
        ({**vocab, "zzz": 10**12}, merges, "no token has the id"),
        ({**vocab, "zzz": -1}, merges, "whole numbers from 0"),
        (vocab, [*merges, ["q", "zz"]], "which the vocabulary does not have"),
        (vocab, [*merges, ["q"]], "is not a merge"),
        ({**vocab, "a</w>": len(vocab)}, merges, "marks ends of words"),
    ]
    for broken, joins, message in cases:
        write_pairs(tmp_path, broken, [])
        (tmp_path / "merges.txt").write_text("\n".join(" ".join(pair) for pair in joins))
        with pytest.raises(DataError, match=message) as raised:
            Tokenizer.load(tmp_path)
        assert "\n" not in str(raised.value)
    write_pairs(tmp_path, vocab, merges)
    (tmp_path / "vocab.json").write_bytes((tmp_path / "vocab.json").read_bytes()[:-20])
    with pytest.raises(DataError, match="not valid JSON"):
        Tokenizer.load(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[PAD]\n[UNK]\n[CLS]\n[SEP]\nthe\nthe\n", "line 6: the token 'the' stands in line 5 already"),
        ("the\ncat\n", r"no token '\[UNK\]'"),
        ("", "has 0 bytes"),
    ],
)
def test_broken_vocab_txt(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "vocab.txt").write_text(content)
    with pytest.raises(DataError, match=message):
        Tokenizer.load(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace("IQ== 33\n", ""), "no token for the byte 0x21"),
        (lambda text: text.replace("IQ== 33", "IQ== 34"), "belongs to both"),
        (lambda text: text + "IQ== 256\n", "has come before"),
        (lambda text: text + "!!", "not a token in base64"),
        (lambda text: text + "YWI= 400\n", "no token has the id 256"),
    ],
)
def test_broken_ranks(tmp_path: Path, change, message: str) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"pattern": r"\s+|\S+"}))
    path = write_ranks(tmp_path, ranks_of([]), "own.tiktoken") / "own.tiktoken"
    path.write_text(change(path.read_text()))
    with pytest.raises(DataError, match=message):
        Tokenizer.load(tmp_path)


def test_several_vocabularies_or_no_pattern_are_refused(tmp_path: Path) -> None:
    write_ranks(tmp_path, ranks_of([]), "own.tiktoken")
    with pytest.raises(DataError, match="nothing says how words are cut"):
        Tokenizer.load(tmp_path)
    (tmp_path / "vocab.txt").write_text("[UNK]\n[CLS]\n[SEP]\n")
    with pytest.raises(DataError, match="several vocabularies"):
        Tokenizer.load(tmp_path)


def test_gpt2_gives_the_ids_of_the_recorded_cases(realdata: Path) -> None:
    folder = realdata / "tokenizers"
    ours = Tokenizer.load(folder / "gpt2")
    texts = (folder / "ggml-vocab-gpt-2.gguf.inp").read_text().split(CASES)
    wanted = (folder / "ggml-vocab-gpt-2.gguf.out").read_text().split("\n")
    for text, ids in zip(texts[:-1], wanted, strict=False):
        assert ours.encode(text) == list(map(int, ids.split())), text
    assert len(texts) > 40 and set(CHARACTER_OF.values()) <= set(ours.inner.get_vocab())


def test_cl100k_gives_known_ids(realdata: Path, tmp_path: Path) -> None:
    source = realdata / "tokenizers" / "cl100k_base.tiktoken"
    (tmp_path / source.name).symlink_to(source)
    ours = Tokenizer.load(tmp_path)
    assert ours.encode("hello world") == [15339, 1917]  # tiktoken's own test
    assert ours.encode("0") == [15] and ours.encode("rer") == [38149]
    assert (ours.eos_id, ours.special_id("<|fim_prefix|>"), ours.special_id("<|endofprompt|>")) == (
        100257,
        100258,
        100276,
    )
