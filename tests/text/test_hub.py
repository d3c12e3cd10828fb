"""Datasets on the Hub, against a stand-in that serves a folder: choice of files, laziness, and errors of one line."""

import sys
from pathlib import Path

import huggingface_hub
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nextword.core.errors import DataError, SettingsError
from nextword.text.hub import CONVERTED, choose, is_dataset
from nextword.text.read import documents, endings
from nextword.text.settings import TextSettings


class Hub:
    """Datasets in a folder: `root/owner/name/revision/files`; `fetched` is what was downloaded."""

    def __init__(self, root: Path) -> None:
        self.root, self.fetched = root, list[str]()

    def add(self, repository: str, file: str, text: str, revision: str = "main") -> None:
        path = self.root / repository / revision.replace("/", "-") / file
        path.parent.mkdir(parents=True, exist_ok=True)
        if file.endswith(".parquet"):
            pq.write_table(pa.table({"text": [text]}), path)
        else:
            path.write_text(text)

    def folder(self, repository: str, revision: str | None) -> Path:
        return self.root / repository / (revision or "main").replace("/", "-")

    def list_repo_files(self, repository: str, *, repo_type: str, revision: str | None) -> list[str]:
        assert repo_type == "dataset"
        folder = self.folder(repository, revision)
        if not folder.is_dir():
            raise OSError(f"404 Client Error: no {repository}\nand more lines")
        return [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]

    def download(self, repository: str, file: str, *, repo_type: str, revision: str | None) -> str:
        self.fetched.append(file)
        return str(self.folder(repository, revision) / file)


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    hub = Hub(tmp_path / "hub")
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: hub)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", hub.download)
    monkeypatch.chdir(tmp_path)
    return hub


def texts(source: str) -> list[str]:
    return [document.text for document in documents(TextSettings(sources=(source,)), {})]


def test_the_training_files_are_read_one_after_the_other(served: Hub) -> None:
    for file in ("data/train-00001.parquet", "data/train-00000.parquet", "data/test-00000.parquet"):
        served.add("ann/tales", file, file)
    served.add("ann/tales", "README.md", "card")
    stream = documents(TextSettings(sources=("ann/tales",)), {})
    first = next(stream)
    assert (first.text, first.id) == ("data/train-00000.parquet", "ann/tales/data/train-00000.parquet:1")
    assert served.fetched == ["data/train-00000.parquet"]
    assert [document.text for document in stream] == ["data/train-00001.parquet"]
    assert texts("hub:ann/tales") == ["data/train-00000.parquet", "data/train-00001.parquet"]


def test_other_formats_and_the_hubs_own_parquet(served: Hub) -> None:
    served.add("ann/lines", "all.jsonl", '{"text": "a line"}\n')
    assert texts("hub:ann/lines") == ["a line"]
    served.add("ann/scripted", "make.py", "code that is never run")
    served.add("ann/scripted", "default/train/0000.parquet", "converted", CONVERTED)
    assert texts("hub:ann/scripted") == ["converted"]


def test_parts_must_be_named(served: Hub) -> None:
    for part in ("raw", "clean"):
        served.add("ann/parts", f"{part}/train-0.parquet", part)
    with pytest.raises(DataError, match="2 parts: clean, raw; name one: hub:ann/parts/clean"):
        texts("hub:ann/parts")
    assert texts("hub:ann/parts/raw") == ["raw"]


def test_unknown_datasets_and_empty_ones_are_refused(served: Hub) -> None:
    with pytest.raises(DataError, match=r"cannot read the dataset 'ann/none'.*404 Client Error: no ann/none\)"):
        texts("ann/none")
    served.add("ann/images", "a.png", "", CONVERTED)
    served.add("ann/images", "a.png", "")
    with pytest.raises(DataError, match="no parquet, jsonl"):
        texts("hub:ann/images")
    with pytest.raises(DataError, match="names no dataset"):
        texts("hub:")


class ConnectError(Exception):
    """As httpx has it: no OSError."""


@pytest.mark.parametrize(
    "problem", [ConnectError("[Errno -2] Name or service not known"), TimeoutError(), ValueError("x")]
)
def test_whatever_the_network_does_the_error_is_one_line(
    served: Hub, monkeypatch: pytest.MonkeyPatch, problem: Exception
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise problem

    served.add("ann/tales", "train.txt", "x")
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fail)
    with pytest.raises(DataError, match="cannot read the dataset 'ann/tales'") as caught:
        texts("hub:ann/tales")
    assert "\n" not in str(caught.value)
    assert (str(problem) or "TimeoutError") in str(caught.value)


def test_without_the_network_the_error_is_one_line() -> None:
    with pytest.raises(DataError, match="cannot read the dataset 'ann/tales'") as caught:
        texts("hub:ann/tales")  # the tests run with HF_HUB_OFFLINE
    assert "\n" not in str(caught.value)


def test_a_missing_extra_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(SettingsError, match=r"pip install 'nextword\[hub\]'"):
        texts("hub:ann/tales")


def test_what_is_taken_for_a_dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    known = endings()
    assert is_dataset("hub:anything", known)
    assert is_dataset("roneneldan/TinyStories", known)
    assert not is_dataset("data/missing", known), "a folder of that name is here: a file is meant"
    assert not is_dataset("texts/book.txt", known)
    assert not is_dataset("texts/book.jsonl.gz", known)
    assert not is_dataset("a/b/c", known)
    assert not is_dataset("name", known)


def test_choice_of_files() -> None:
    listing = ["x/train/0.jsonl", "x/test/0.jsonl", "train.txt", "dataset_infos.json"]
    assert choose(listing, "", endings()) == ["x/train/0.jsonl"]
    assert choose(["en/a.txt", "de/a.txt"], "de", endings()) == ["de/a.txt"]
    assert choose(["constraint.txt", "b.txt"], "", endings()) == ["b.txt", "constraint.txt"], "no training split here"
