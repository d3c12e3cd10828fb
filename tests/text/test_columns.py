"""Labels beside texts, in every kind of file; CSV as others write it; what is missing is named."""

import csv
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nextword.core.errors import DataError
from nextword.core.records import Document
from nextword.text import read
from nextword.text.settings import TextSettings

ROWS = [("good, very", "a film"), ('say "no"', "two\nlines"), ("3", "été")]


def documents(path: Path, *columns: str, **settings: str) -> list[Document]:
    return list(read.documents(TextSettings(sources=(str(path),), **settings), {}, columns))  # type: ignore[arg-type]


@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl", "parquet"])
def test_a_label_beside_each_text(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"a.{ending}"
    if ending in {"csv", "tsv"}:
        with path.open("w", newline="") as file:
            writer = csv.writer(file, delimiter="," if ending == "csv" else "\t")
            writer.writerow(["label", "more", "text"])
            writer.writerows([label, 1, text] for label, text in ROWS)
    elif ending == "jsonl":
        path.write_text("".join(json.dumps({"label": label, "text": text}) + "\n" for label, text in ROWS))
    else:
        pq.write_table(pa.table({"label": [label for label, _ in ROWS], "text": [text for _, text in ROWS]}), path)
    found = documents(path, "label")
    assert [(one.meta["label"], one.text) for one in found] == ROWS
    assert [one.id for one in found] == [f"a.{ending}:{n}" for n in (1, 2, 3)]
    assert all(one.meta == {} for one in documents(path))
    if ending != "jsonl":  # whose records may differ
        with pytest.raises(DataError, match="no column 'labels'; did you mean 'label'"):
            documents(path, "labels")


def test_the_first_word_of_plain_text(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("1 a good film \n0  a bad one\n\n1\n")
    found = documents(path, "first", separator="\\n")
    assert [(one.meta["first"], one.text) for one in found] == [("1", "a good film"), ("0", "a bad one")]
    assert [one.text for one in documents(path, separator="\\n")][:2] == ["1 a good film ", "0  a bad one"]
    with pytest.raises(DataError, match="plain text, which has no column 'label'; 'first' is"):
        documents(path, "label")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("name,label\nx,1\n", "no column 'text'; known: label, name; choose with"),
        ("text,label\nx,1\ny\n", r"a\.csv:3: 1 fields where the first line names 2 columns"),
        ('text,label\n"x"y,1\n', r"a\.csv:2: .*; mend the record"),
        ('text,label\n"x,1\n', r"a\.csv:\d+: .*; mend the record"),
        ("", "no column 'text'; the file is empty"),
    ],
)
def test_broken_csv_is_refused(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "a.csv").write_text(content)
    with pytest.raises(DataError, match=said):
        documents(tmp_path / "a.csv", "label")


def test_csv_as_spreadsheets_write_it(tmp_path: Path) -> None:
    """A byte order mark, lines ended by CR LF, a url, an empty line."""
    (tmp_path / "a.csv").write_bytes("\ufefftext,url\r\nété,http://x.org\r\n\r\nb,\r\n".encode())
    found = documents(tmp_path / "a.csv")
    assert [(one.text, one.url) for one in found] == [("été", "http://x.org"), ("b", "")]
