"""Sources: files of every format, folders, globs; order, identity, and errors that name place and remedy."""

import gzip
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nextword.core.errors import DataError, NextwordError, SettingsError
from nextword.core.records import Document
from nextword.text.read import documents, endings
from nextword.text.settings import TextSettings, unescape


def read(*sources: object, **options: object) -> list[Document]:
    return list(documents(TextSettings(sources=tuple(map(str, sources)), **options), {}))  # type: ignore[arg-type]


def texts(*sources: object, **options: object) -> list[str]:
    return [document.text for document in read(*sources, **options)]


def refused(*sources: object, **options: object) -> str:
    with pytest.raises(NextwordError) as caught:
        read(*sources, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def zst(data: bytes) -> bytes:
    return pa.Codec("zstd").compress(data).to_pybytes()  # type: ignore[no-any-return]


def lines(*records: object) -> bytes:
    return "".join(json.dumps(record) + "\n" for record in records).encode()


def put(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_a_text_file_is_one_document_and_newlines_stay(tmp_path: Path) -> None:
    path = put(tmp_path / "a.txt", b"one\r\ntwo\n\n  three \n")
    (document,) = read(path)
    assert document == Document("a.txt:1", "one\r\ntwo\n\n  three \n", str(path))


def test_one_byte_is_a_document(tmp_path: Path) -> None:
    assert texts(put(tmp_path / "a.txt", b"x")) == ["x"]


def test_separator_with_escapes_cuts_a_file(tmp_path: Path) -> None:
    path = put(tmp_path / "a.txt", "\ufeffeins\n\nzwei\ndrei\n\n\n\nvier".encode())
    assert texts(path, separator=r"\n\n") == texts(path, separator="\n\n") == ["eins", "zwei\ndrei", "vier"]
    assert [document.id for document in read(path, separator=r"\n\n")] == ["a.txt:1", "a.txt:2", "a.txt:3"]
    assert unescape(r"\t\\n") == "\t\\n"
    with pytest.raises(SettingsError, match="escape"):
        TextSettings(separator=r"\q")
    with pytest.raises(SettingsError, match="empty"):
        TextSettings(separator="")


@settings(deadline=None)
@given(st.lists(st.text(alphabet="ab\né😀", max_size=8), max_size=8), st.sampled_from(["--", "\n\n", "é"]))
def test_separated_documents_are_what_split_gives(parts: list[str], separator: str) -> None:
    import tempfile

    text = separator.join(parts)
    with tempfile.TemporaryDirectory() as folder:
        path = put(Path(folder, "a.txt"), text.encode())
        wanted = [part for part in text.split(separator) if part]
        assert (texts(path, separator=separator) if wanted else []) == wanted


@settings(max_examples=20, deadline=None)
@given(st.lists(st.text(max_size=20), min_size=1, max_size=6))
def test_jsonl_parquet_and_their_compressed_forms_give_the_texts_back(wanted: list[str]) -> None:
    import tempfile

    present = [text for text in wanted if text]
    half = len(wanted) // 2
    first, second = (lines(*({"text": text, "n": 1} for text in part)) for part in (wanted[:half], wanted[half:]))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        put(folder / "a.jsonl", first + second)
        put(folder / "b.jsonl.gz", gzip.compress(first) + gzip.compress(second))
        put(folder / "c.ndjson.zst", zst(first) + zst(second))
        pq.write_table(pa.table({"n": range(len(wanted)), "text": wanted}), folder / "d.parquet", row_group_size=2)
        if not present:
            assert "empty" in refused(folder)
        else:
            assert texts(folder) == present * 4


def test_other_columns_and_urls(tmp_path: Path) -> None:
    path = put(tmp_path / "a.jsonl", lines({"body": "hello", "url": "http://x"}) + b"\n  \r\n" + lines({"body": "you"}))
    assert [(d.text, d.url) for d in read(path, text_column="body")] == [("hello", "http://x"), ("you", None)]
    table = pa.table({"body": pa.array(["a", "b"]).dictionary_encode(), "url": ["http://y", None]})
    pq.write_table(table, tmp_path / "a.parquet")
    assert [(d.text, d.url) for d in read(tmp_path / "a.parquet", text_column="body")] == [
        ("a", "http://y"),
        ("b", None),
    ]


def test_folders_are_sorted_without_hidden_or_foreign_files(tmp_path: Path) -> None:
    for name in ("b.txt", "a/z.md", "a/c.txt.gz", "a/.hidden.txt", ".git/x.txt", "picture.png", "B.TXT"):
        text = name.encode()
        put(tmp_path / name, gzip.compress(text) if name.endswith("gz") else text)
    put(tmp_path / "empty.txt", b"")
    found = read(tmp_path)
    assert [d.text for d in found] == ["B.TXT", "a/c.txt.gz", "a/z.md", "b.txt"]
    assert [d.id for d in found] == ["B.TXT:1", "a/c.txt.gz:1", "a/z.md:1", "b.txt:1"]
    assert {d.source for d in found} == {str(tmp_path)}


def test_globs_and_files_named_twice(tmp_path: Path) -> None:
    for name in ("x/1.txt", "x/2.txt", "y/3.txt"):
        put(tmp_path / name, name.encode())
    assert texts(tmp_path / "*" / "*.txt") == ["x/1.txt", "x/2.txt", "y/3.txt"]
    assert [d.id for d in read(tmp_path / "**" / "[23].txt")] == ["x/2.txt:1", "y/3.txt:1"]
    assert texts(tmp_path / "y", tmp_path, tmp_path / "x" / "1.txt") == ["y/3.txt", "x/1.txt", "x/2.txt"]
    odd = put(tmp_path / "a[1].txt", b"odd")
    assert texts(odd) == ["odd"]


def test_generators_are_asked_for_by_name_and_files_stay_lazy(tmp_path: Path) -> None:
    def made() -> Iterator[Document]:
        yield Document("made:1", "made up", "made")

    chosen = TextSettings(sources=("made", str(put(tmp_path / "a.txt", b"\xff"))))
    stream = documents(chosen, {"made": made})
    assert next(stream).text == "made up"  # the broken file behind it has not been read
    with pytest.raises(DataError, match="UTF-8"):
        next(stream)


def test_a_file_of_unknown_ending_is_text(tmp_path: Path) -> None:
    assert texts(put(tmp_path / "README", b"read me")) == ["read me"]
    assert set(endings().values()) == {"txt", "jsonl", "csv", "parquet"}


def test_missing_sources_name_the_nearest(tmp_path: Path) -> None:
    put(tmp_path / "shakespeare.txt", b"x")
    assert "did you mean" in refused(tmp_path / "shakespear.txt")
    assert str(tmp_path / "shakespeare.txt") in refused(tmp_path / "shakespear.txt")
    assert "no file matches" in refused(tmp_path / "*.jsonl")
    assert "--text" in refused()
    with pytest.raises(DataError, match="did you mean 'tinyworld'"):
        list(documents(TextSettings(sources=("tinywold",)), {"tinyworld": lambda: iter(())}))
    (tmp_path / "void").mkdir()
    assert "no text in the folder" in refused(tmp_path / "void")


def test_empty_text_is_refused(tmp_path: Path) -> None:
    for name, content in (
        ("a.txt", b""),
        ("b.txt", b"\xef\xbb\xbf"),
        ("c.jsonl", b"\n\n"),
        ("d.txt.gz", gzip.compress(b"")),
    ):
        assert "is empty" in refused(put(tmp_path / name, content)), name
    assert "is empty" in refused(put(tmp_path / "e.txt", b"\n\n\n\n"), separator=r"\n\n")
    assert "its 5 files are empty" in refused(tmp_path / "?.*", separator=r"\n")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_barred_file_says_so(tmp_path: Path) -> None:
    path = put(tmp_path / "a.txt", b"x")
    path.chmod(0)
    assert "permission" in refused(path)


def test_broken_text_is_refused_with_its_place(tmp_path: Path) -> None:
    assert "binary" in refused(put(tmp_path / "a.txt", b"\x89PNG\0\0"))
    assert "offset 7" in refused(put(tmp_path / "b.txt", b"one\n\ntw\xff"), separator=r"\n\n")
    assert "UTF-16" in refused(put(tmp_path / "c.txt", "text".encode("utf-16")))
    os.mkfifo(tmp_path / "pipe")
    assert "no regular file" in refused(tmp_path / "pipe")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'{"text": "a"}\n{"text": "b"', "a.jsonl:2: not JSON"),
        (b'{"text": "a"}\n["b"]\n', "a.jsonl:2: list where an object"),
        (b'{"txt": "a"}\n', "no key 'text'; did you mean 'txt'"),
        (b'{"body": "a", "n": 1}\n', "no key 'text'; known: body, n"),
        (b'{"text": 5}\n', "'text' holds int"),
        (b'{"text": null}\n', "'text' holds NoneType"),
        (b'{"text": "\\ud83d"}\n', "surrogate"),
        (b'{"text": "caf\xe9"}\n', "offset 13"),
        (b"[" * 100_000 + b"\n", "not JSON"),
        (b'{"text": "a", "n": ' + b"9" * 5000 + b"}\n", "not JSON"),
    ],
)
def test_broken_records_are_refused_with_their_line(tmp_path: Path, content: bytes, said: str) -> None:
    assert said in refused(put(tmp_path / "a.jsonl", content))


def test_broken_parquet_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": ["a", None], "n": [1, 2]}), path)
    assert "row 2: 'text' is null" in refused(path)
    assert "no column 'txt'; did you mean 'text'" in refused(path, text_column="txt")
    assert "holds int64" in refused(path, text_column="n")
    put(path, path.read_bytes()[:-20])
    assert "cannot be read" in refused(path)
    assert "cannot be read" in refused(put(tmp_path / "b.parquet", b"no parquet at all"))
    bad = pa.Array.from_buffers(pa.string(), 1, [None, pa.py_buffer(b"\0\0\0\0\1\0\0\0"), pa.py_buffer(b"\xff")])
    pq.write_table(pa.table({"text": bad}), path)
    assert "UTF-8" in refused(path)


@pytest.mark.parametrize("name", ["a.txt.gz", "a.jsonl.zst"])
def test_truncated_archives_are_refused(tmp_path: Path, name: str) -> None:
    data = lines(*({"text": f"number {number}"} for number in range(2000)))
    whole = gzip.compress(data) if name.endswith("gz") else zst(data)
    assert len(texts(put(tmp_path / name, whole))) in {1, 2000}
    assert "truncated or damaged" in refused(put(tmp_path / name, whole[:-7]))
    assert "truncated or damaged" in refused(put(tmp_path / name, data))


def test_a_document_beyond_memorys_share_is_refused(tmp_path: Path) -> None:
    long = put(tmp_path / "a.txt", b"word " * 400)
    assert "--separator" in refused(long, max_document_mb=0.001)
    assert "--text.max-document-mb" in refused(long, max_document_mb=0.001)
    assert len(texts(long, max_document_mb=0.001, separator=" ")) == 400
    assert "line" in refused(put(tmp_path / "a.jsonl", lines({"text": "x" * 2000})), max_document_mb=0.001)
    pq.write_table(pa.table({"text": ["é" * 600]}), tmp_path / "a.parquet")
    assert "row 1" in refused(tmp_path / "a.parquet", max_document_mb=0.001)
    assert len(texts(tmp_path / "a.parquet", max_document_mb=0.0012)) == 1
    with pytest.raises(SettingsError, match="max_document_mb"):
        TextSettings(max_document_mb=0)


def test_real_files_come_back_whole(realdata: Path) -> None:
    path = realdata / "text" / "wagahaiwa_nekodearu.txt"
    assert texts(path) == [path.read_bytes().decode("utf-8-sig")]
    names = realdata / "text" / "names.txt"
    assert texts(names, separator=r"\n") == names.read_text().split()
