"""Compiled kernels kept on the disk, so that a machine compiles each of them once.

Numba stores machine code in files that it reads back with pickle; whoever can write them can run code as the user. So
they lie in a folder of the user's own (`~/.cache/nextword/kernels-...`, or below XDG_CACHE_HOME), which only the user
may enter; a folder that others own or may write is not used, and kernels are then compiled in each process. Its name
carries a fingerprint of the kernels' source, of which Numba itself notices a change only in the outermost function's
file, and of where it lies, by which Numba names its files. Where the user sets NUMBA_CACHE_DIR, it is a folder in that
one, under the same conditions.
"""

import hashlib
import os
import stat
from functools import cache
from pathlib import Path

import llvmlite
import numba
from numba.core.dispatcher import Dispatcher

HERE = Path(__file__).parent


def folder() -> Path:
    """Where the compiled kernels of this version of the source lie (it need not exist yet)."""
    content = b"".join(path.read_bytes() for path in sorted(HERE.glob("*.py")))
    versions = f"{numba.__version__} {llvmlite.__version__} {HERE}".encode()
    given = os.environ.get("NUMBA_CACHE_DIR")
    home = Path(given) if given else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "nextword"
    return home / f"kernels-{hashlib.sha256(content + versions).hexdigest()[:16]}"


def private(path: Path) -> bool:
    """Makes the folder with the user's rights only; False when it cannot be made or others could write into it."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        found, above = path.stat(follow_symlinks=False), path.parent.stat()
    except OSError:
        return False
    if os.name == "nt":  # the profile's folder is the user's own there
        return True
    others = found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    replaced = above.st_mode & stat.S_IWOTH and not above.st_mode & stat.S_ISVTX  # all may put another in its place
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not others and not replaced


@cache
def remember(kernel: Dispatcher) -> bool:
    """Lets Numba keep `kernel` on the disk and take it from there; whether it may. Call it before the first use."""
    place = folder()
    if not private(place):
        return False
    before = numba.config.CACHE_DIR
    try:  # Numba reads this setting once for each function; the user's own functions keep theirs
        numba.config.CACHE_DIR = str(place)
        kernel.enable_caching()
    finally:
        numba.config.CACHE_DIR = before
    return True


def _marker(kernel: Dispatcher, variant: str) -> Path:
    target = hashlib.sha256(f"{numba.core.codegen.get_host_cpu_features()}".encode()).hexdigest()[:12]
    return folder() / f"{kernel.py_func.__name__}-{variant}-{target}.compiled"


def compiled(kernel: Dispatcher, variant: str) -> bool:
    """Whether `mark` has noted that this processor's machine code of a kernel's variant lies in the folder."""
    return _marker(kernel, variant).exists()


def mark(kernel: Dispatcher, variant: str) -> None:
    """Notes that a kernel's variant is compiled and on the disk; without a folder nothing is noted."""
    if private(folder()):
        _marker(kernel, variant).touch()
