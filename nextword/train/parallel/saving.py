"""A checkpoint that several processes write: it counts only when every process's part is there.

Process 0 makes the folder under another name; every process writes its part; process 0 collects their checksums, adds
the model and `state.json`, and renames. Between these steps all wait for all. A process that dies leaves the folder
without its name, and the checkpoint before it stays the newest.
"""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from nextword.core.distributed import World
from nextword.core.errors import ResourceError
from nextword.core.files import PARTIAL, atomic_folder, disk_errors, write_json
from nextword.train import checkpoint
from nextword.train.image import Image
from nextword.train.parallel.parts import name_of


def write(
    out: Path, counts: Mapping[str, Any], image: Image, write_model: Callable[[Path], None], keep: int, world: World
) -> None:
    """As `checkpoint.write`, called by every process with its own part of the state in `image`.

    Raises on all processes when one cannot write; the checkpoints before it stay as they are.
    """
    path = out / checkpoint.FOLDER / checkpoint.name_of(counts["step"])
    beside, group = path.with_name(path.name + PARTIAL), world.saving
    with ExitStack() as stack:
        world.attempt(lambda: stack.enter_context(atomic_folder(path)) if world.first else None, group)
        parts = world.gather(world.attempt(lambda: write_part(beside, image, world), group), group)
        if world.first:
            sums = {name: checksum for part in parts for name, checksum in part.items()}
            checkpoint.write_rest(beside, counts, sums, write_model)
            stack.close()  # flushes and renames
        world.gather(None, group)  # until process 0 has done so
    if world.first:
        checkpoint.forget_old(out, keep)


def write_part(folder: Path, image: Image, world: World) -> dict[str, str]:
    """Writes a process's tensors and what is to be known of them; SHA-256 by file name."""
    name = name_of(world.rank, world.size)
    if not folder.is_dir():
        raise ResourceError(f"{folder} cannot be seen from here: --out must lie on a disk that all processes share")
    with disk_errors(folder):
        checksum = image.write(folder / name)
        about = folder / f"{name.removesuffix('.safetensors')}.json"
        shapes = {key: list(tensor.shape) for key, tensor in image.views.items()}
        write_json(about, {"rank": world.rank, "of": world.size, "sha256": checksum, "rows": shapes})
    return {name: checksum, about.name: checkpoint.sha256(about)}
