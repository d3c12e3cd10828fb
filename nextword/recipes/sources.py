"""Where the text of a run comes from: files, and the generators that nextword brings along."""

import platform
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from importlib.metadata import version

from nextword.core import files as core_files
from nextword.core.errors import SettingsError
from nextword.core.records import Document
from nextword.core.settings import to_tree
from nextword.text import hub, python_docs, read
from nextword.text.settings import TextSettings
from nextword.tinyworld import documents as tinyworld

PYTHON_DOCS = "python-docs"
TINYWORLD = "tinyworld"


def open_documents(settings: TextSettings, columns: Sequence[str] = ()) -> Iterator[Document]:
    """All documents that the settings name, lazily, with what stands in `columns`; each call starts anew.

    Beside files there are `python-docs`, the English prose of this Python, and `tinyworld` or `tinyworld:COUNT`, that
    many documents about an invented world. A folder of one of these names is meant by `./tinyworld`.
    """
    return read.documents(settings, generators(settings), columns)


def generators(settings: TextSettings) -> dict[str, Callable[[], Iterator[Document]]]:
    """The generators by the names under which the settings may ask for them."""
    found: dict[str, Callable[[], Iterator[Document]]] = {
        PYTHON_DOCS: python_docs.documents,
        TINYWORLD: tinyworld.documents,
    }
    for source in settings.sources:
        name, colon, count = source.partition(":")
        if name == TINYWORLD and colon:
            if not count.isdecimal() or int(count) == 0:
                raise SettingsError(f"{source!r}: after the colon comes how many documents, such as tinyworld:5000")
            found[source] = partial(tinyworld.documents, count=int(count))
    return found


def fingerprint(settings: TextSettings) -> str:
    """A short hash that changes when the text would: file names, sizes and times, settings, versions of generators.

    A dataset on the Hub counts by its name, so that no network is asked. Raises DataError where a source is missing.
    """
    known = generators(settings)
    state: list[object] = [to_tree(settings)]
    for source in settings.sources:
        if source in known:
            state.append([source, version("nextword"), platform.python_version()])
        elif not hub.is_dataset(source, read.endings()):
            for file in read.files(source, known):
                status = file.path.stat()
                state.append([str(file.path.resolve()), status.st_size, status.st_mtime_ns])
    return core_files.fingerprint(state)
