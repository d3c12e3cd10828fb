"""Parts are found by the names of their files."""

from pathlib import Path

import pytest

from nextword.core import registry
from nextword.core.errors import SettingsError


def test_a_file_is_a_part_and_nothing_else_needs_to_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "some_greetings"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "good_day.py").write_text("def say() -> str:\n    return 'good day'\n")
    (package / "broken.py").write_text("raise RuntimeError('must not be imported to be listed')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert registry.names("some_greetings") == ("broken", "good_day")
    assert registry.part("some_greetings", "good-day", "say")() == "good day"  # type: ignore[operator]
    with pytest.raises(SettingsError, match="no 'good-dya' among the some greetings; did you mean 'good_day'"):
        registry.part("some_greetings", "good-dya", "say")
