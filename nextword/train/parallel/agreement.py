"""Before the first step: are the processes of this run about to compute the same thing?

A machine with an older copy of the code or of the tokens would join in without complaint, and the model would be one
that nobody can explain. So all processes compare what their result depends on, and stop before anything is written
where one differs from process 0.
"""

import hashlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nextword.core.distributed import World
from nextword.core.errors import SettingsError
from nextword.data.stream import TokenRow

PACKAGE = Path(__file__).parents[2]
PLACES, LENGTH = 64, 1024  # so many stretches of so many tokens are looked at; not all, which may be terabytes
SHOWN = 3  # differences that the error names


def check_same(world: World, depends: Mapping[str, Any], texts: Mapping[str, TokenRow | None]) -> None:
    """Raises SettingsError, on all processes, unless `depends` (flat), the tokens and the code are the same on all."""
    if not world.several:
        return
    mine = {**depends, **{name: of_tokens(row) for name, row in texts.items() if row is not None}}
    mine |= {"the code of nextword": of_source(), "PyTorch": torch.__version__, "Python": sys.version.split()[0]}
    trees = world.gather(mine)
    for rank, tree in enumerate(trees):
        keys = [key for key in {**trees[0], **tree} if tree.get(key) != trees[0].get(key)]
        if keys:
            found = "; ".join(f"{key}: {tree.get(key)!r} instead of {trees[0].get(key)!r}" for key in keys[:SHOWN])
            raise world.told(
                SettingsError(
                    f"process {rank} of {world.size} differs from process 0 in {found}: start all with the same "
                    "command, data and version"
                )
            )


def of_source() -> str:
    """A hash of the package's source files."""
    digest = hashlib.sha256()
    for path in sorted(PACKAGE.rglob("*.py")):
        digest.update(path.relative_to(PACKAGE).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def of_tokens(row: TokenRow) -> str:
    """A hash of a split's size and of stretches of its tokens, spread evenly."""
    digest = hashlib.sha256(str(len(row)).encode())
    for start in np.linspace(0, max(len(row) - LENGTH, 0), PLACES).astype(np.int64).tolist():
        digest.update(np.asarray(row.read(start, min(start + LENGTH, len(row))), np.int64).tobytes())
    return digest.hexdigest()[:16]
