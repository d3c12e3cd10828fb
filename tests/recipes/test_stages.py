"""The ledger of a run: what is skipped, resumed, redone, refused."""

from pathlib import Path

import pytest

from nextword.core.errors import SettingsError
from nextword.recipes.stages import Ledger, Stage


def make(out: Path, calls: list[str], first: int = 1, second: int = 1, broken: bool = False) -> list[Stage]:
    def work(name: str) -> dict[str, object]:
        calls.append(name)
        if broken and name == "b":
            raise RuntimeError("the power went")
        (out / name).mkdir(parents=True, exist_ok=True)
        return {"made": name}

    stages = {"a": first, "b": second, "c": 0}
    return [Stage(name, {"n": n}, [name], lambda name=name: work(name)) for name, n in stages.items()]  # type: ignore[misc]


def run(out: Path, **options: int | bool) -> list[str]:
    calls: list[str] = []
    Ledger(out, "r").run(make(out, calls, **options), lambda line: None)  # type: ignore[arg-type]
    return calls


def test_finished_stages_are_skipped_and_a_change_reruns_all_after_it(tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run(out) == ["a", "b", "c"]
    assert run(out) == []
    assert run(out, second=2) == ["b", "c"]
    assert run(out, second=2, first=5) == ["a", "b", "c"]


def test_an_interrupted_stage_goes_on_and_keeps_its_files(tmp_path: Path) -> None:
    out = tmp_path / "out"
    calls: list[str] = []
    with pytest.raises(RuntimeError):
        Ledger(out, "r").run(make(out, calls, broken=True), lambda line: None)
    (out / "b").mkdir()
    (out / "b" / "half").write_text("work so far")
    said: list[str] = []
    Ledger(out, "r").run(make(out, calls), said.append)
    assert calls == ["a", "b", "b", "c"]
    assert (out / "b" / "half").exists(), "an unchanged stage finds what it had made"
    assert said[:2] == ["a: done before, unchanged", "b: goes on"]


def test_a_changed_stage_starts_from_nothing(tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(out)
    (out / "b" / "old").write_text("of other settings")
    run(out, second=2)
    assert not (out / "b" / "old").exists()


def test_a_removed_output_is_made_again(tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(out)
    (out / "c").rmdir()
    assert run(out) == ["c"]


def test_a_folder_of_another_recipe_or_of_anything_is_refused(tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(out)
    with pytest.raises(SettingsError, match="'r', not 'other'"):
        Ledger(out, "other")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_text("")
    with pytest.raises(SettingsError, match="no run of nextword"):
        Ledger(tmp_path / "photos", "r")
