"""Parts are files: a part is found by the name of its file, so that adding one edits no list.

`part("nextword.train.schedules", "cosine", "schedule")` imports `nextword/train/schedules/cosine.py` and returns its
`schedule`. A dash in a name stands for an underscore in the file's name.
"""

from functools import cache
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

from nextword.core.errors import SettingsError, nearest


@cache
def names(package: str) -> tuple[str, ...]:
    """The names of the parts in `package`, sorted, without importing any of them."""
    root = import_module(package)
    folders = [str(Path(path)) for path in root.__path__]
    return tuple(sorted(module.name for module in iter_modules(folders) if not module.name.startswith("_")))


def part(package: str, name: str, attribute: str) -> object:
    """The object `attribute` of the part `name` in `package`.

    Raises SettingsError, naming the nearest part, when there is no such file.
    """
    file = name.replace("-", "_")
    if file not in names(package):
        kind = package.rsplit(".", 1)[-1].replace("_", " ")
        raise SettingsError(f"no {name!r} among the {kind}{nearest(name, names(package))}")
    found: object = getattr(import_module(f"{package}.{file}"), attribute)
    return found
