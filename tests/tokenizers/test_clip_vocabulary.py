"""CLIP's vocab.json and merges.txt give the ids that transformers' CLIPTokenizer gives, and the text back."""

import json
from pathlib import Path

import pytest

from nextword.core.errors import DataError
from nextword.tokenizers.base import Tokenizer
from nextword.tokenizers.bytelevel import CHARACTER_OF

transformers = pytest.importorskip("transformers")
TEXTS = [
    "A photo of a CAT's hat!",
    "  two\n\tspaces , 12 dogs... they'll",
    "Café and Cafe\u0301, 日本語 🐈",
    "<|endoftext|> is text",
    "",
]


def write(folder: Path, vocabulary: list[str], merges: list[str]) -> None:
    (folder / "vocab.json").write_text(json.dumps({token: number for number, token in enumerate(vocabulary)}))
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]) + "\n")
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "CLIPTokenizer"}))


def test_the_same_ids(tmp_path: Path) -> None:
    letters = list(CHARACTER_OF.values())
    merges = ["a t</w>", "c at</w>", "h at</w>", "o f</w>", "p h", "ph o", "' s</w>", "Ã ©</w>", ". .", ".. .</w>"]
    made = [merge.replace(" ", "") for merge in merges]
    write(tmp_path, [*letters, *(f"{one}</w>" for one in letters), *made, "<|startoftext|>", "<|endoftext|>"], merges)
    ours, theirs = Tokenizer.load(tmp_path), transformers.CLIPTokenizer.from_pretrained(tmp_path)
    for text in [text for text in TEXTS if "endoftext" not in text]:
        assert ours.framed(ours.encode(text)) == theirs(text).input_ids
    assert ours.decode(ours.encode(TEXTS[0])).strip() == "a photo of a cat 's hat !"
    start, end = ours.special_id("<|startoftext|>"), ours.eos_id
    assert {start, end}.isdisjoint(ours.encode(TEXTS[3]))  # a control token's name is text
    ours.save(tmp_path / "again")
    again = Tokenizer.load(tmp_path / "again")
    assert again.framed(again.encode(TEXTS[0])) == ours.framed(ours.encode(TEXTS[0])) == theirs(TEXTS[0]).input_ids


def test_a_vocabulary_without_its_control_tokens_is_refused(tmp_path: Path) -> None:
    write(tmp_path, ["a", "a</w>", "<|endoftext|>"], [])
    with pytest.raises(DataError, match=r"lacks <\|startoftext\|>"):
        Tokenizer.load(tmp_path)
