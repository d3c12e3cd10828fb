"""The sources of a run: generators by name, files, and a fingerprint that changes when the text does."""

import os
from pathlib import Path

import pytest

from nextword.core.errors import DataError, SettingsError
from nextword.recipes.sources import fingerprint, open_documents
from nextword.text.settings import SplitSettings, TextSettings
from nextword.text.split import split


def test_generators_and_files_make_one_stream(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("own text")
    settings = TextSettings(sources=("python-docs", "tinyworld:7", str(tmp_path / "a.txt")))
    found = list(open_documents(settings))
    assert found == list(open_documents(settings)), "each call starts anew"
    assert list(dict.fromkeys(document.source for document in found)) == [
        "python-docs",
        "tinyworld",
        settings.sources[2],
    ]
    assert sum(document.source == "tinyworld" for document in found) == 7
    assert len({document.id for document in found}) == len(found)


def test_the_demos_sources_are_split_by_document() -> None:
    plan = split(lambda: open_documents(TextSettings(sources=("python-docs", "tinyworld"))), SplitSettings())
    assert not plan.cuts
    assert plan.characters > 4_000_000
    assert plan.validation_characters > 0.025 * plan.characters


def test_wrong_counts_and_names_are_refused() -> None:
    for source in ("tinyworld:", "tinyworld:many", "tinyworld:0"):
        with pytest.raises(SettingsError, match="tinyworld:5000"):
            open_documents(TextSettings(sources=(source,)))
    with pytest.raises(DataError, match="did you mean 'python-docs'"):
        list(open_documents(TextSettings(sources=("python-doc",))))


def test_the_fingerprint_follows_the_text(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("one")
    settings = TextSettings(sources=(str(tmp_path), "tinyworld:5", "hub:ann/tales"))
    first = fingerprint(settings)
    assert fingerprint(settings) == first
    os.utime(path, ns=(1, 1))
    second = fingerprint(settings)
    path.write_text("two!")
    third = fingerprint(settings)
    (tmp_path / "b.txt").write_text("more")
    fourth = fingerprint(settings)
    fifth = fingerprint(TextSettings(sources=settings.sources, separator="x"))
    assert len({first, second, third, fourth, fifth}) == 5
    with pytest.raises(DataError, match="no file or folder"):
        fingerprint(TextSettings(sources=("gone.txt",)))
