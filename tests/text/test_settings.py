"""The text settings as the command line gives them: `--text` with several files, aliases, sections."""

from dataclasses import dataclass, field

import pytest

from nextword import cli
from nextword.core.errors import SettingsError
from nextword.core.settings import build
from nextword.text.settings import SplitSettings, TextSettings


@dataclass(frozen=True, kw_only=True)
class Verb:
    """A verb that reads text."""

    EXAMPLES = "  nextword read --text a.txt"

    text: TextSettings = field(default_factory=TextSettings)
    split: SplitSettings = field(default_factory=SplitSettings)


def parse(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> Verb:
    monkeypatch.setitem(cli.VERBS, "read", ("tests:Verb", "reads"))
    monkeypatch.setattr(cli, "load", lambda reference: Verb)
    found = cli.parse("read", list(arguments))
    assert isinstance(found, Verb)
    return found


@pytest.mark.parametrize(
    "arguments",
    [
        ("--text", "a.txt", "b", "--separator", r"\n\n", "--text-column", "body", "--split-at", "0.9"),
        (
            "--text.sources",
            "a.txt",
            "b",
            "--text.separator",
            r"\n\n",
            "--text.text-column=body",
            "--split.split-at=0.9",
        ),
        ("--split-at=0.9", "--text=a.txt", "--separator=\\n\\n", "--text", "b", "--text.text_column", "body"),
    ],
)
def test_text_is_named_in_short_or_in_full(monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]) -> None:
    assert parse(monkeypatch, *arguments) == Verb(
        text=TextSettings(sources=("a.txt", "b"), separator=r"\n\n", text_column="body"),
        split=SplitSettings(split_at=0.9),
    )


def test_a_separator_may_begin_with_a_dash(monkeypatch: pytest.MonkeyPatch) -> None:
    assert parse(monkeypatch, "--separator", "---", "--text", "a").text.separator == "---"


def test_wrong_settings_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError, match="split_at must lie between"):
        parse(monkeypatch, "--split-at", "90")
    with pytest.raises(SettingsError, match=r"text\.separater"):
        parse(monkeypatch, "--text.separater", "x")
    with pytest.raises(SettingsError, match="did you mean 'separator'"):
        build(TextSettings, {"separater": "x"})


def test_a_recipe_gives_the_same() -> None:
    tree = {"text": {"sources": ["a", "b"], "separator": "\n\n"}, "split": {"validation": 0.1}}
    assert build(Verb, tree) == Verb(
        text=TextSettings(sources=("a", "b"), separator="\n\n"), split=SplitSettings(validation=0.1)
    )
