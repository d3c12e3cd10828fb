"""Folders: foreign ones are understood, broken ones refused in one line."""

import json
from pathlib import Path

import pytest

from nextword.core.errors import DataError
from nextword.decode.settings import SamplingSettings
from nextword.engine.request import Request
from nextword.tokenizers.base import Tokenizer


@pytest.fixture
def folder(tmp_path: Path, tokenizers_by_kind: dict[str, Tokenizer]) -> Path:
    tokenizers_by_kind["bpe"].save(tmp_path)
    return tmp_path


def set_config(folder: Path, tree: object, name: str = "tokenizer_config.json") -> None:
    (folder / name).write_text(json.dumps(tree))


def test_roles_come_from_wherever_they_are_written(folder: Path) -> None:
    set_config(folder, {"eos_token": {"content": "the", "lstrip": False}})
    found = Tokenizer.load(folder)
    assert found.eos_id == found.inner.token_to_id("the")
    assert found.bos_id == found.inner.token_to_id("<|endoftext|>")  # nobody says: the control token there is
    assert (found.pad_id, found.unk_id) == (None, None)
    set_config(folder, {"eos_token": "is", "bos_token": "the"}, "special_tokens_map.json")
    set_config(folder, {"bos_token_id": 5, "eos_token_id": [6, 7], "pad_token_id": 10**6}, "config.json")
    found = Tokenizer.load(folder)
    assert (found.bos_id, found.eos_id) == (found.inner.token_to_id("the"), found.inner.token_to_id("the"))
    (folder / "special_tokens_map.json").unlink()
    (folder / "tokenizer_config.json").unlink()
    found = Tokenizer.load(folder)
    assert (found.bos_id, found.eos_id, found.pad_id) == (5, 6, None)
    assert (found.kind, found.lossless) == ("bpe", True)  # seen from its parts


def test_padding_and_truncation_of_a_foreign_file_do_not_apply(folder: Path) -> None:
    tokenizer = Tokenizer.load(folder)
    wanted = tokenizer.encode("one two three")
    tokenizer.inner.enable_truncation(2)
    tokenizer.inner.enable_padding(length=50)
    tokenizer.inner.save(str(folder / "tokenizer.json"))
    assert Tokenizer.load(folder).encode("one two three") == wanted


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "has no tokenizer.json"),
        ("[1, 2]", "has no tokenizer.json"),
        ("{", "not valid JSON"),
        ('{"model": {"type": "BPE"}}', "not a tokenizer that can be read"),
        ("[" * 100_000, "not valid JSON"),
    ],
)
def test_broken_folders(tmp_path: Path, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(DataError, match=message) as raised:
        Tokenizer.load(tmp_path)
    assert "\n" not in str(raised.value)


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is not a folder"):
        Tokenizer.load(tmp_path / "nothing")


def test_template_and_ends_of_turns_go_with_the_tokenizer(folder: Path, tmp_path: Path) -> None:
    first = Tokenizer.load(folder)
    turn = first.encode("a")[0]
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [first.eos_id, turn], "top_p": 0.9}))
    read = Tokenizer.load(folder)
    assert read.template == "{{ messages }}" and read.stops == {first.eos_id, turn}
    read.save(tmp_path / "again")
    again = Tokenizer.load(tmp_path / "again")
    assert (again.template, again.stops) == (read.template, read.stops)
    read.save(folder)
    assert json.loads((folder / "generation_config.json").read_text()) == {
        "eos_token_id": [first.eos_id, turn],
        "top_p": 0.9,  # what else it says is not ours
    }
    first.save(tmp_path / "again")  # which has no template: that of another tokenizer would be wrong
    assert Tokenizer.load(tmp_path / "again").template is None
    assert Request.of(read, "b", SamplingSettings()).eos_ids == {first.eos_id, turn}


@pytest.mark.parametrize("given", [[{"name": "tool_use", "template": "x"}], 7, {"default": "x"}])
def test_templates_that_are_none(folder: Path, given: object) -> None:
    tree = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(tree | {"chat_template": given}))
    with pytest.raises(DataError, match="neither a template nor a list"):
        Tokenizer.load(folder)
