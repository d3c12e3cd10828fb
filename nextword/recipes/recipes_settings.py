"""Settings of `nextword recipes list` and `nextword recipes init`."""

from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import ClassVar


@dataclass(frozen=True)
class ListRecipes:
    """The recipes that are shipped, with what each is for."""

    RECIPE: ClassVar[str] = "nextword.recipes.shipped_recipes:show"
    EXAMPLES: ClassVar[str] = "  nextword recipes list\n  nextword recipes list --json"

    _: KW_ONLY
    json: bool = False
    "Print JSON instead of a table."


@dataclass(frozen=True)
class InitRecipe:
    """Copies a shipped recipe into a file of yours, to read and to change."""

    RECIPE: ClassVar[str] = "nextword.recipes.shipped_recipes:init"
    EXAMPLES: ClassVar[str] = "  nextword recipes init demo\n  nextword recipes init shakespeare mine.toml"

    name: str
    "Name of a shipped recipe, as `nextword recipes list` shows it."
    path: Path | None = None
    "File to write; the recipe's own name in this folder if left out. An existing file is never overwritten."
