"""Checkpoints on disk: folders that are whole or not there, and that say so themselves.

`checkpoints/step-00000100/` holds `model/` (a Hugging Face folder, usable as it is), `state.safetensors` (fp32 masters,
the optimizer's means, random number generators) and `state.json` (counts, place in the data, length of the log, and the
SHA-256 of every file); several processes write a state file each (`train/parallel/parts.py`). A folder is written
under another name, flushed to the disk and renamed; `find_good` believes one only when every checksum is right, and
otherwise goes to the one before.
"""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from nextword.core.errors import CheckpointError
from nextword.core.files import PARTIAL, atomic_folder, fingerprint, read_json, sha256, write_json
from nextword.train.image import Image

FOLDER, STATE, TENSORS, MODEL = "checkpoints", "state.json", "state.safetensors", "model"


def name_of(step: int) -> str:
    """The folder's name of a checkpoint."""
    return f"step-{step:08d}"


def all_of(out: Path) -> list[Path]:
    """The checkpoints of a run, oldest first, good or not."""
    return sorted(path for path in (out / FOLDER).glob("step-*") if path.is_dir() and path.suffix != PARTIAL)


def write(out: Path, counts: Mapping[str, Any], image: Image, write_model: Callable[[Path], None], keep: int) -> Path:
    """Writes a checkpoint whole, then removes all but the newest `keep`; its folder.

    Raises ResourceError when the disk is full; the checkpoints before it stay as they are.
    """
    path = out / FOLDER / name_of(counts["step"])
    with atomic_folder(path) as folder:
        write_rest(folder, counts, {TENSORS: image.write(folder / TENSORS)}, write_model)
    forget_old(out, keep)
    return path


def write_rest(
    folder: Path, counts: Mapping[str, Any], sums: Mapping[str, str], write_model: Callable[[Path], None]
) -> None:
    """Adds the model, the counts and all checksums to a folder in which the tensors are."""
    write_model(folder / MODEL)
    models = {f"{MODEL}/{file.name}": sha256(file) for file in sorted((folder / MODEL).iterdir())}
    content = {"counts": dict(counts), "files": {**sums, **models}}
    write_json(folder / STATE, content | {"checksum": fingerprint(content)})


def forget_old(out: Path, keep: int) -> None:
    """Removes all but the newest `keep` checkpoints."""
    for old in all_of(out)[:-keep]:
        shutil.rmtree(old, ignore_errors=True)


def read(path: Path) -> dict[str, Any]:
    """The counts of a checkpoint, once all of it has been found as it was written.

    Raises CheckpointError that names the file which is missing or changed.
    """
    content = read_json(path / STATE, CheckpointError)
    checksum = content.pop("checksum", None) if isinstance(content, dict) else None
    if checksum is None or checksum != fingerprint(content):
        raise CheckpointError(f"{path / STATE} is not as it was written")
    for name, expected in content["files"].items():
        file = path / name
        if not file.is_file():
            raise CheckpointError(f"{file} is missing")
        if sha256(file) != expected:
            raise CheckpointError(f"{file} is not as it was written")
    counts: dict[str, Any] = content["counts"]
    return counts


def find_good(out: Path, warn: Callable[[str], None]) -> tuple[Path, dict[str, Any]] | None:
    """The newest checkpoint that is whole, with its counts; None when there is none. Says which ones it passed over.

    Removes what a killed process left half written: call it only while holding the run's lock.
    """
    for left in (out / FOLDER).glob(f"*{PARTIAL}"):
        shutil.rmtree(left, ignore_errors=True)
    for path in reversed(all_of(out)):
        try:
            return path, read(path)
        except CheckpointError as error:
            warn(f"checkpoint {path.name} is damaged ({error}); going back to the one before")
    return None
