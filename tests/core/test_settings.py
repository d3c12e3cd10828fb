"""Settings: unknown keys name the nearest, wrong types say what was expected, trees survive the round trip."""

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from nextword.core.errors import SettingsError
from nextword.core.settings import build, check_keys, in_range, load_toml, to_tree


@dataclass(frozen=True, kw_only=True)
class Inner:
    width: int = 4
    rate: float | None = None

    def __post_init__(self) -> None:
        in_range("width", self.width, 1, 100)


@dataclass(frozen=True, kw_only=True)
class Outer:
    name: str = "x"
    paths: tuple[Path, ...] = ()
    inner: Inner = field(default_factory=Inner)


def test_a_tree_survives_the_round_trip() -> None:
    outer = Outer(name="y", paths=(Path("a/b"),), inner=Inner(width=7, rate=0.5))
    assert build(Outer, to_tree(outer)) == outer


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({"inner": {"widht": 3}}, r"r.toml: unknown setting 'inner.widht'; did you mean 'width'"),
        ({"nam": "x"}, r"unknown setting 'nam'; did you mean 'name'"),
        ({"inner": 3}, r"'inner' is a section"),
        ({"inner": {"width": "wide"}}, r"inner.width: .*received 'wide'"),
        ({"inner": {"width": 0}}, r"width must be between 1 and 100, received 0"),
        ({"inner": {"rate": [1]}}, r"inner.rate"),
    ],
)
def test_wrong_trees_are_refused_by_name(tree: dict[str, object], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        build(Outer, tree, "r.toml")


def test_check_keys_accepts_what_is_known() -> None:
    check_keys(Outer, {"name": 1, "inner": {"rate": 2}}, "r.toml")


@pytest.mark.parametrize("content", [b"a = ", b"\xff\xfe", b"a = 1\na = 2"])
def test_broken_toml_is_one_clear_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "r.toml"
    path.write_bytes(content)
    with pytest.raises(SettingsError, match="TOML"):
        load_toml(path)
    with pytest.raises(SettingsError, match="does not exist"):
        load_toml(tmp_path / "missing.toml")
    with pytest.raises(SettingsError, match="not a TOML file"):
        load_toml(tmp_path)
