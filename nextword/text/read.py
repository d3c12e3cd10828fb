"""Text sources as one stream of documents, in an order that is the same on every run.

A source is a file, a folder (searched through, in sorted order, hidden files left out), a glob, `hub:OWNER/DATASET`, or
the name of a generator that the caller hands in. How a file is read depends on its ending; each way is a part in
`nextword/text/readers/` that names its `ENDINGS` and has a function `read(path, settings, limit, columns)`. A file that
two sources name is read once.
"""

import glob
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from itertools import takewhile
from pathlib import Path
from typing import NamedTuple, cast

from nextword.core.errors import DataError, SettingsError
from nextword.core.records import Document
from nextword.core.registry import names, part
from nextword.text import hub
from nextword.text.settings import TextSettings
from nextword.text.stream import COMPRESSIONS, longest_document

READERS = "nextword.text.readers"
MAGIC = frozenset("*?[")  # what makes a name a glob
Generators = Mapping[str, Callable[[], Iterator[Document]]]
Row = tuple[str, str | None, Mapping[str, object]]  # a text, its address, and what stands in further columns
Read = Callable[[Path, TextSettings, int, Sequence[str]], Iterator[Row]]


class TextFile(NamedTuple):
    """A file to read: where it lies, and the stable name that its documents' ids begin with."""

    path: Path
    name: str


def documents(settings: TextSettings, generators: Generators, columns: Sequence[str] = ()) -> Iterator[Document]:
    """All documents of all sources, lazily, in the order in which the sources are named.

    `Document.source` is the source as the user wrote it; `id` is the file's name below it and the record's number;
    `meta` holds what stands in `columns`, such as labels (of plain text there is one, "first", the first word).
    Raises SettingsError when no source is named, DataError (with the place and the remedy) for what cannot be read.
    """
    if not settings.sources:
        raise SettingsError("no text is named: add --text with files, folders, python-docs or tinyworld")
    limit = int(settings.max_document_mb * 1e6) if settings.max_document_mb else longest_document()
    seen: set[Path] = set()
    for source in dict.fromkeys(settings.sources):
        if source in generators:
            yield from generators[source]()
        else:
            yield from file_documents(source, settings, limit, generators, seen, columns)


def file_documents(
    source: str,
    settings: TextSettings,
    limit: int,
    generators: Generators,
    seen: set[Path],
    columns: Sequence[str] = (),
) -> Iterator[Document]:
    """The documents of one source of files; `seen` are the files that other sources have given already."""
    count = files_count = 0
    for file in files(source, generators):
        files_count += 1
        real = file.path.resolve()
        if real in seen:
            count += 1  # its text is not missing: it came before
            continue
        seen.add(real)
        before = count
        for text, url, meta in reader(file.path)(file.path, settings, limit, columns):
            if text:
                count += 1
                yield Document(f"{file.name}:{count - before}", text, source, url, meta)
    if count == 0:
        what = "is empty" if Path(source).is_file() else f"holds no text: its {files_count} files are empty"
        raise DataError(f"{source} {what}; name a source that has text")


def files(source: str, known: Iterable[str] = ()) -> Iterator[TextFile]:
    """The files of a source in sorted order; DataError when there is none, naming the nearest of files and `known`."""
    path = Path(source)
    if hub.is_dataset(source, endings()):
        for local, name in hub.files(source.removeprefix(hub.PREFIX), endings()):
            yield TextFile(local, name)
    elif path.is_dir():
        yield from folder_files(path)
    elif path.exists():
        if not stat.S_ISREG(path.stat().st_mode):
            raise DataError(f"{source} is no regular file: text is read more than once, so write it to a file first")
        yield TextFile(path, path.name)
    elif MAGIC & set(source):
        yield from glob_files(source)
    else:
        raise missing(source, known)


def folder_files(folder: Path) -> Iterator[TextFile]:
    """The files below `folder` whose ending is known, sorted by path, without hidden ones."""
    found = []
    for root, inner, here in os.walk(folder):
        inner[:] = [name for name in inner if not name.startswith(".")]
        found += [Path(root, name) for name in here if not name.startswith(".") and ending(Path(name)) in endings()]
    if not found:
        raise DataError(
            f"no text in the folder {folder}: no file in it ends in {', '.join(sorted(endings()))} (or these with .gz, "
            ".zst); name a file or a glob, which is read whatever its ending"
        )
    for path in sorted(found, key=lambda path: path.relative_to(folder).parts):
        yield TextFile(path, path.relative_to(folder).as_posix())


def glob_files(pattern: str) -> Iterator[TextFile]:
    """The files (and those below the folders) that a glob matches, sorted; names begin after its fixed part."""
    fixed = Path(*takewhile(lambda step: not MAGIC & set(step), Path(pattern).parts))
    matches = sorted(map(Path, glob.glob(pattern, recursive=True)))
    kept = [path for path in matches if path.is_file()]
    if not kept:
        raise DataError(f"no file matches {pattern!r}; check the folder and the ending (in quotes, ** crosses folders)")
    for path in kept:
        yield TextFile(path, path.relative_to(fixed).as_posix())


def missing(source: str, known: Iterable[str]) -> DataError:
    """The error for a source that is nothing, with the nearest name beside it."""
    parent = Path(source).parent
    beside = map(str, parent.iterdir()) if parent.is_dir() else ()
    close = get_close_matches(source, sorted({*beside, *known}), n=1)
    meant = f"; did you mean {close[0]!r}?" if close else "; name a file, folder, glob, python-docs or tinyworld"
    return DataError(f"no file or folder {source!r}{meant}")


def ending(path: Path) -> str:
    """The ending that says how a file is read: the last, or the one before a compression's (`a.jsonl.gz`: jsonl)."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in COMPRESSIONS:
        suffixes.pop()
    return suffixes[-1].removeprefix(".") if suffixes else ""


def endings() -> dict[str, str]:
    """Which reader reads which ending."""
    found = {}
    for name in names(READERS):
        for known in cast(tuple[str, ...], part(READERS, name, "ENDINGS")):
            found[known] = name
    return found


def reader(path: Path) -> Read:
    """The function that reads `path`; a file whose ending nobody knows is plain text."""
    return cast(Read, part(READERS, endings().get(ending(path), "txt"), "read"))
