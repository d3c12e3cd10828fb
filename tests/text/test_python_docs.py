"""The prose of this Python: its size, its order, its signatures, and no module run."""

import subprocess
import sys
from pathlib import Path

import pytest

from nextword.core.errors import DataError
from nextword.text.python_docs import PAGE_CHARACTERS, collect, documents


def test_it_holds_the_reference_and_the_docstrings() -> None:
    found = {document.id: document for document in documents()}
    assert sum(len(document.text) for document in found.values()) > 1_500_000
    assert {document.source for document in found.values()} == {"python-docs"}
    assert 'The "assert" statement' in found["python-docs:topics/assert"].text
    wrap = found["python-docs:textwrap/1"].text
    assert wrap.startswith("textwrap\n\nText wrapping and filling.\n")
    assert "textwrap.TextWrapper._split(self, text)\n\n_split(text : string) -> [string]\n" in wrap
    assert not any("test_" in name.split("/")[0] or ".tests." in name for name in found)


def test_nothing_is_said_twice_and_modules_are_paged() -> None:
    found = list(documents())
    assert len({document.text for document in found}) == len(found)
    assert any(document.id.startswith("python-docs:turtle/") and document.id.endswith("/2") for document in found)
    assert sorted(len(document.text) for document in found)[len(found) // 2] < 2 * PAGE_CHARACTERS


def test_a_small_library_by_hand(tmp_path: Path) -> None:
    (tmp_path / "pydoc_data").mkdir()
    (tmp_path / "pydoc_data" / "topics.py").write_text(
        "topics = {'b': '\\nAbout b\\n\\n', 'a': 'About ' 'a', 'c': 'About a'}"
    )
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / "hidden.py").write_text('"""Never seen, and forty characters long at the least."""')
    (tmp_path / "broken.py").write_text("print 'old'")
    (tmp_path / "greet.py").write_text(
        '"""Greet people, one at a time.\n\n    Indented.\n    """\nraise SystemExit\n'
        'class Hello:\n    async def say(self, *, to: str = "you") -> None:\n        """Say it."""\n'
        '    def again(self):\n        """Say it."""\n'
    )
    (tmp_path / "pack").mkdir()
    (tmp_path / "pack" / "__init__.py").write_text('"""A package whose docstring is long enough."""')
    assert [(document.id, document.text) for document in collect(tmp_path)] == [
        ("python-docs:topics/a", "About a\n"),
        ("python-docs:topics/b", "About b\n"),
        (
            "python-docs:greet/1",
            "greet\n\nGreet people, one at a time.\n\nIndented.\n\n"
            "greet.Hello.say(self, *, to: str='you')\n\nSay it.\n",
        ),
        ("python-docs:pack/1", "pack\n\nA package whose docstring is long enough.\n"),
    ]


def test_a_python_without_sources_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no prose"):
        collect(tmp_path)


def test_no_module_of_the_library_is_imported() -> None:
    code = (
        "import sys; from nextword.text.python_docs import documents; before = set(sys.modules)\n"
        "count = len(list(documents())); new = {name.split('.')[0] for name in set(sys.modules) - before}\n"
        "print(count > 500, [name for name in new if name != 'encodings' and not name.startswith('_sysconfig')])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "True []"
