"""Settings: frozen dataclasses, filled from TOML files and from `--section.key=value`.

One dataclass is the single description of a verb's or a section's settings: names, types, defaults, and the string
below each field, which is its help. `build` checks a tree of plain values against it with pydantic; an unknown key is
an error that names the nearest known one, so that a misspelt setting is never ignored.
"""

import dataclasses
import tomllib
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from nextword.core.errors import SettingsError, nearest

S = TypeVar("S")


def section_types(cls: type) -> dict[str, type]:
    """The fields of `cls` that are themselves settings dataclasses (`X` or `X | None`), by name."""
    sections = {}
    for name, hint in typing.get_type_hints(cls).items():
        options = typing.get_args(hint) if typing.get_origin(hint) in {typing.Union, types.UnionType} else (hint,)
        for option in options:
            if isinstance(option, type) and dataclasses.is_dataclass(option):
                sections[name] = option
    return sections


def check_keys(cls: type, tree: Mapping[str, Any], where: str, prefix: str = "") -> None:
    """Raises SettingsError for the first key of `tree` that `cls` does not have; `where` names the file."""
    known = {field.name for field in dataclasses.fields(cls)}
    sections = section_types(cls)
    for key, value in tree.items():
        if key not in known:
            raise SettingsError(f"{where}: unknown setting {prefix + key!r}{nearest(key, known)}")
        if key in sections:
            if not isinstance(value, Mapping):
                raise SettingsError(
                    f"{where}: {prefix + key!r} is a section: write [{prefix + key}] and its settings below"
                )
            check_keys(sections[key], value, where, f"{prefix}{key}.")


def build(cls: type[S], tree: Mapping[str, Any], where: str = "settings") -> S:
    """An instance of the dataclass `cls` from a tree of plain values.

    Raises SettingsError naming the setting, what was expected and what was received.
    """
    from pydantic import TypeAdapter, ValidationError  # noqa: PLC0415 - 50 ms that the top-level help need not pay

    check_keys(cls, tree, where)
    try:
        return TypeAdapter(cls).validate_python(dict(tree))
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(step) for step in first["loc"])
        raise SettingsError(f"{where}: {name or cls.__name__}: {first['msg']}, received {first['input']!r}") from None


def load_toml(path: Path) -> dict[str, Any]:
    """The tree in a TOML file; SettingsError when it is missing or broken (with the line)."""
    try:
        return tomllib.loads(path.read_bytes().decode())
    except FileNotFoundError:
        raise SettingsError(
            f"{path} does not exist; `nextword recipes list` shows the recipes that are shipped"
        ) from None
    except (IsADirectoryError, UnicodeDecodeError):
        raise SettingsError(f"{path} is not a TOML file; a recipe is a text file such as recipes/demo.toml") from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise SettingsError(f"{path} is not valid TOML: {error}") from None


def to_tree(settings: Any) -> dict[str, Any]:
    """The settings as a tree of JSON-like values, every default written out."""
    tree = {}
    for field in dataclasses.fields(settings):
        tree[field.name] = _plain(getattr(settings, field.name))
    return tree


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return to_tree(value)
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    return value


def in_range(name: str, value: float, low: float, high: float = float("inf")) -> None:
    """Raises SettingsError unless low <= value <= high; for `__post_init__` of settings."""
    if not low <= value <= high:
        limit = f"at least {low:g}" if high == float("inf") else f"between {low:g} and {high:g}"
        raise SettingsError(f"{name} must be {limit}, received {value!r}")
