"""Files are whole or not there, and a full disk says so."""

import errno
import json
import os
from pathlib import Path

import pytest

from nextword.core import files
from nextword.core.errors import CheckpointError, DataError, ResourceError


def full_disk(*arguments: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.json"
    files.write_json(path, {"a": 1})
    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(ResourceError, match="disk is full"):
        files.write_json(path, {"a": 2})
    assert json.loads(path.read_text()) == {"a": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["a.json"]


def test_a_folder_is_replaced_as_a_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "model"
    with files.atomic_folder(path) as beside:
        (beside / "old").write_text("1")
    with pytest.raises(ZeroDivisionError), files.atomic_folder(path) as beside:
        (beside / "half").write_text("2")
        raise ZeroDivisionError
    assert [file.name for file in path.iterdir()] == ["old"]
    with files.atomic_folder(path) as beside:
        (beside / "new").write_text("3")
    assert [file.name for file in path.iterdir()] == ["new"]
    assert [file.name for file in tmp_path.iterdir()] == ["model"]


def test_a_kill_between_the_two_renames_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "model"
    with files.atomic_folder(path) as beside:
        (beside / "weights").write_text("good")
    path.rename(tmp_path / "model.old.partial")  # what a kill between the renames leaves
    files.finish_swap(path)
    assert (path / "weights").read_text() == "good"


def test_hostile_json_is_one_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    for content in (b"{", b"\xff", b"[" * 200_000):
        path.write_bytes(content)
        with pytest.raises(DataError, match="not valid JSON"):
            files.read_json(path)
    with pytest.raises(CheckpointError, match="more than"):
        files.read_json(path, CheckpointError, limit_bytes=1000)
    with pytest.raises(CheckpointError, match="does not exist"):
        files.read_json(tmp_path / "b.json", CheckpointError)


def test_fingerprint_ignores_the_order_of_keys() -> None:
    assert files.fingerprint({"a": 1, "b": [2]}) == files.fingerprint({"b": [2], "a": 1})
    assert files.fingerprint({"a": 1}) != files.fingerprint({"a": 2})
