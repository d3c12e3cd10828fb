"""Files that are whole or not there: written beside their place, flushed to the disk, then renamed.

A process that is killed while it writes leaves a file that ends in `.partial` and the old file untouched. A full disk
becomes a `ResourceError` that names the folder, what is free, and what to do.
"""

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from nextword.core.errors import DataError, NextwordError, ResourceError

PARTIAL = ".partial"  # the ending of everything that is being written
CHUNK_BYTES = 1 << 20


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turns the operating system's disk errors on writing `path` into a `ResourceError` with the remedy."""
    try:
        yield
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
            free = free_bytes(path) / 1e6
            raise ResourceError(
                f"the disk is full: cannot write {path} ({free:.0f} MB free); free some space or choose another --out, "
                "then run the same command again"
            ) from error
        if error.errno in {errno.EACCES, errno.EROFS, errno.EPERM}:
            raise ResourceError(f"cannot write {path}: {error.strerror}; choose a folder you may write to") from error
        raise


def free_bytes(path: Path) -> int:
    """Free bytes on the disk that holds `path` or its nearest existing parent."""
    place = path.absolute()
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free


def sync(path: Path) -> None:
    """Flushes a file or a folder's list of names to the disk (a folder cannot be opened so on some systems)."""
    if path.is_dir() and os.name == "nt":
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """Gives a file to write in; when the block ends without an error it takes `path`'s place, flushed to the disk."""
    beside = path.with_name(f"{path.name}.{os.getpid()}{PARTIAL}")
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with beside.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)
        sync(path.parent)


def write_atomic(path: Path, content: bytes | str) -> None:
    """Writes `content` to `path` so that a reader sees the old file or the new one, never a part."""
    with atomic_file(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


def write_json(path: Path, tree: Any) -> None:
    """Writes `tree` as indented JSON, atomically."""
    write_atomic(path, json.dumps(tree, indent=2, ensure_ascii=False) + "\n")


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Gives a fresh folder beside `path`; when the block ends without an error it takes `path`'s place.

    A folder that was there is replaced as a whole; the moment between the two renames is covered by `finish_swap`,
    which a reader of the folder calls first.
    """
    beside, old = path.with_name(path.name + PARTIAL), path.with_name(path.name + ".old" + PARTIAL)
    with disk_errors(path):
        finish_swap(path)
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir(parents=True)
        try:
            yield beside
            for file in beside.rglob("*"):
                if file.is_file():
                    sync(file)
            sync(beside)
            if path.exists():
                path.rename(old)
            beside.rename(path)
            sync(path.parent)
            shutil.rmtree(old, ignore_errors=True)
        except BaseException:
            shutil.rmtree(beside, ignore_errors=True)
            raise


def finish_swap(path: Path) -> None:
    """Puts the old folder back where a process was killed between `atomic_folder`'s two renames."""
    old = path.with_name(path.name + ".old" + PARTIAL)
    if old.exists():
        if path.exists():
            shutil.rmtree(old, ignore_errors=True)
        else:
            old.rename(path)


def sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fingerprint(tree: Any) -> str:
    """A short hash of a JSON-like tree: equal trees give equal fingerprints, whatever the order of their keys."""
    text = json.dumps(tree, sort_keys=True, ensure_ascii=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def read_json(path: Path, error: type[NextwordError] = DataError, limit_bytes: int = 64 << 20) -> Any:
    """The JSON in `path`; a missing, oversized, truncated, too deep or otherwise broken file raises `error`."""
    try:
        size = path.stat().st_size
        if size > limit_bytes:
            raise error(
                f"{path} has {size / 1e6:.0f} MB, more than the {limit_bytes / 1e6:.0f} MB a file of its kind may have"
            )
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        raise error(f"{path} does not exist") from None
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as problem:
        raise error(
            f"{path} is not valid JSON ({type(problem).__name__}: {problem}); restore it or make it anew"
        ) from None
