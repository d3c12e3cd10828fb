"""The recipes that come with nextword: TOML files whose first comment lines say what they are for."""

import json
from pathlib import Path

from rich.console import Console
from rich.table import Table

from nextword.core.errors import SettingsError, nearest
from nextword.core.files import write_atomic
from nextword.recipes.recipes_settings import InitRecipe, ListRecipes

FOLDER = Path(__file__).parent / "shipped"


def recipes() -> dict[str, Path]:
    """The shipped recipes' files by name."""
    return {path.stem: path for path in sorted(FOLDER.glob("*.toml"))}


def purpose(path: Path) -> str:
    """The sentence that a recipe's leading comment lines make."""
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.lstrip("# ").strip())
    return " ".join(lines)


def find(name: str) -> Path:
    """The file of the shipped recipe `name`; SettingsError with the nearest name where there is none."""
    if name not in recipes():
        raise SettingsError(f"no shipped recipe {name!r}{nearest(name, recipes())}")
    return recipes()[name]


def show(settings: ListRecipes) -> None:
    """Prints the shipped recipes."""
    if settings.json:
        print(json.dumps({name: purpose(path) for name, path in recipes().items()}, indent=2))
        return
    table = Table("recipe", "what it does", box=None, padding=(0, 2, 0, 0))
    for name, path in recipes().items():
        table.add_row(name, purpose(path))
    Console().print(table)
    print("\nnext: nextword run NAME, or nextword recipes init NAME to copy one and change it")


def init(settings: InitRecipe) -> None:
    """Copies a recipe; refuses to overwrite."""
    source = find(settings.name)
    target = settings.path or Path(f"{settings.name}.toml")
    if target.is_dir():
        target = target / source.name
    if target.exists():
        raise SettingsError(f"{target} exists and is left as it is; name another file")
    write_atomic(target, source.read_bytes())
    print(f"wrote {target}\nnext: nextword run {target}")
