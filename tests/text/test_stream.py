"""Cutting and decoding byte streams: equal to bytes.split however the bytes arrive, and flat in memory."""

import json
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nextword.core.errors import DataError
from nextword.text.read import documents
from nextword.text.settings import TextSettings
from nextword.text.stream import BOM, decode, longest_document, pieces

TOO_LONG = DataError("too long")


class Trickle:
    """A stream that gives its bytes in portions of the sizes it is told, whatever is asked for."""

    def __init__(self, data: bytes, sizes: list[int]) -> None:
        self.data, self.sizes, self.at = data, sizes, 0

    def read(self, size: int, /) -> bytes:
        count = min(size, self.sizes.pop() if self.sizes else size)
        self.at += count
        return self.data[self.at - count : self.at]


SMALL = st.text(alphabet="ab|é\n", max_size=40).map(str.encode)


@given(
    SMALL,
    st.sampled_from([b"|", b"||", b"a|a", b"\n\n", "é".encode(), b""]),
    st.lists(st.integers(1, 5)),
    st.booleans(),
)
def test_pieces_are_what_split_gives_however_the_bytes_arrive(
    data: bytes, separator: bytes, sizes: list[int], mark: bool
) -> None:
    whole = (BOM if mark else b"") + data
    found = list(pieces(Trickle(whole, sizes), separator, 100, TOO_LONG))
    assert [data for _, data in found] == (data.split(separator) if separator else [data])
    assert all(whole[offset:].startswith(data) for offset, data in found)
    assert all(offset >= 3 for offset, _ in found) or not mark


@given(st.lists(st.integers(0, 30), min_size=1, max_size=6), st.integers(1, 20), st.lists(st.integers(1, 9)))
def test_a_piece_longer_than_the_limit_is_refused(lengths: list[int], limit: int, sizes: list[int]) -> None:
    data = b"|".join(b"x" * length for length in lengths)
    if max(lengths) > limit:
        with pytest.raises(DataError, match="too long"):
            list(pieces(Trickle(data, sizes), b"|", limit, TOO_LONG))
    else:
        assert len(list(pieces(Trickle(data, sizes), b"|", limit, TOO_LONG))) == len(lengths)


@pytest.mark.parametrize("name", ["a.txt", "a.jsonl"])
def test_memory_stays_flat_in_the_size_of_the_file(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    text = "some words of a document " * 400
    record = json.dumps({"text": text}) + "\n" if name == "a.jsonl" else text + "\n"
    with path.open("w") as file:
        for _ in range(4000):
            file.write(record)
    tracemalloc.start()
    found = documents(TextSettings(sources=(str(path),), separator="\n"), {})
    total = sum(len(document.text) for document in found)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert total == 4000 * len(text) == 40_000_000
    assert peak < 6 << 20


def test_decoding_errors_name_the_place(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    with pytest.raises(DataError, match=r"a\.txt is not valid UTF-8: byte 0xe9 at offset 1,003"):
        decode((1000, b"caf\xe9s"), path)
    with pytest.raises(DataError, match=r"binary file.* zero byte at offset 12"):
        decode((10, b"ab\0"), path)
    with pytest.raises(DataError, match="UTF-16"):
        decode((0, "hi".encode("utf-16")), path)


def test_the_longest_document_is_a_share_of_memory() -> None:
    assert 1 << 20 < longest_document() < 1 << 40
