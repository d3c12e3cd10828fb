"""The English prose that every CPython carries: the language reference by topic, and the standard library's docstrings.

Real text of some megabytes without a download, collected at run time from the source files of the running Python. They
are parsed, never imported, so that no module's code runs. Tests, generated tables and exact repeats are left out. What
it holds depends on the Python version, not on the machine.
"""

import ast
import inspect
import os
import sysconfig
import tokenize
import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from nextword.core.errors import DataError
from nextword.core.records import Document

SOURCE = "python-docs"
TOPICS = Path("pydoc_data", "topics.py")
SKIPPED = frozenset(
    [
        "test",
        "tests",
        "idle_test",
        "site-packages",
        "dist-packages",
        "lib-dynload",
        "pydoc_data",
        "encodings",
        "_bundled",
    ]
)
SHORTEST = 40  # characters of prose that make a document
PAGE_CHARACTERS = 3000  # after which a module's docstrings go on in the next document
Definition = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def documents() -> Iterator[Document]:
    """A document for every topic of the language reference, then the docstrings of every module in their order.

    Raises DataError where this Python was installed without its source files.
    """
    return iter(collect(Path(sysconfig.get_path("stdlib"))))


@cache
def collect(stdlib: Path) -> tuple[Document, ...]:
    """All documents below `stdlib`; kept, since parsing it takes seconds and a run reads its text repeatedly."""
    seen: set[str] = set()
    found = list(topics(stdlib / TOPICS, seen))
    for path in module_files(stdlib):
        name = ".".join(path.relative_to(stdlib).with_suffix("").parts).removesuffix(".__init__")
        for number, text in enumerate(pages(prose(path, name, seen)), 1):
            found.append(Document(f"{SOURCE}:{name}/{number}", text, SOURCE))
    if not found:
        raise DataError(f"no Python source files in {stdlib}: this Python has no prose; name text files instead")
    return tuple(found)


def topics(path: Path, seen: set[str]) -> Iterator[Document]:
    """The language reference's topics (`assert`, `lambda`, ...), out of the dictionary that `help()` reads.

    Some stand there under two names; the texts in `seen` are left out, new ones join it.
    """
    if not path.exists():
        return
    for statement in ast.parse(path.read_bytes()).body:
        if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Dict):
            for name, text in sorted(ast.literal_eval(statement.value).items()):
                if text not in seen:
                    seen.add(text)
                    yield Document(f"{SOURCE}:topics/{name}", text.strip("\n") + "\n", SOURCE)


def module_files(stdlib: Path) -> list[Path]:
    """The library's source files in sorted order."""
    found = []
    for root, inner, here in os.walk(stdlib):
        inner[:] = [name for name in inner if name not in SKIPPED]
        found += [Path(root, name) for name in here if name.endswith(".py")]
    return sorted(found, key=lambda path: path.relative_to(stdlib).parts)


def prose(path: Path, module: str, seen: set[str]) -> Iterator[str]:
    """The docstrings of a file, each under its name and signature; those in `seen` are left out, new ones join it."""
    try:
        with tokenize.open(path) as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd escapes in other people's strings
            tree = ast.parse(file.read())
    except (SyntaxError, UnicodeDecodeError):  # templates and samples of old Python
        return
    for name, node in definitions(tree, module):
        text = inspect.cleandoc(ast.get_docstring(node, clean=False) or "").strip()
        if text and text not in seen:
            seen.add(text)
            yield f"{name}{signature(node)}\n\n{text}\n"


def pages(parts: Iterator[str]) -> Iterator[str]:
    """The parts joined, a new page begun where one has become long: a few giants would make any split lopsided."""
    page = ""
    for text in parts:
        page = f"{page}\n{text}" if page else text
        if len(page) >= PAGE_CHARACTERS:
            yield page
            page = ""
    if len(page) >= SHORTEST:
        yield page


def definitions(node: Definition, name: str) -> Iterator[tuple[str, Definition]]:
    """The module, its classes, functions and methods by their dotted names, in the file's order."""
    yield name, node
    for inner in node.body:
        if isinstance(inner, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield from definitions(inner, f"{name}.{inner.name}")


def signature(node: Definition) -> str:
    """`(text, width=70)` for a function, nothing for a class or module."""
    return f"({ast.unparse(node.args)})" if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) else ""
