"""One process a folder: a lock that the operating system lets go of when its holder ends, however it ends."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nextword.core.errors import SettingsError
from nextword.core.files import disk_errors

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

NAME = ".lock"


@contextmanager
def only_one(out: Path) -> Iterator[None]:
    """Holds `out/.lock` while the block runs; SettingsError when another process holds it."""
    with disk_errors(out):
        out.mkdir(parents=True, exist_ok=True)
        file = (out / NAME).open("a+b")
    with file:
        try:
            if sys.platform == "win32":
                msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
            else:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise SettingsError(
                f"another process is training into {out}: wait for it, or choose another --out"
            ) from None
        yield
