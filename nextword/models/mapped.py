"""A safetensors file as memory: tensors that are views of the file and are read when they are first looked at.

Layout (https://github.com/huggingface/safetensors): the length of the header in 8 bytes, the header (JSON: a type, a
shape and a place for each name), then the numbers. The system maps the file privately: what is changed is a copy of a
page that the file never sees, and a tensor that nobody holds any more gives its memory back, so that a model of another
number format is made without ever holding the file's.

A file that is replaced by a new one, as everything here is written (`core/files.py`), stays what it was for whoever has
mapped it. One that another program cuts or overwrites in place while it is in use takes the numbers with it.
"""

import json
import mmap
import os
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from nextword.core.errors import CheckpointError

LENGTH_BYTES = 8  # of the number before the header
DTYPES = {
    **{"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16},
    **{"I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8},
    **{"U64": torch.uint64, "U32": torch.uint32, "U16": torch.uint16, "U8": torch.uint8, "BOOL": torch.bool},
}


def map_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a file by name; CheckpointError for a file that is truncated or none."""
    try:
        with safe_open(path, framework="pt"):  # the library judges the header: sizes, places, overlaps
            pass
        with path.open("rb") as file:
            memory = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        begin = LENGTH_BYTES + int.from_bytes(memory[:LENGTH_BYTES], "little")
        header: dict[str, Any] = json.loads(memory[LENGTH_BYTES:begin])
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{path} is truncated or no safetensors file ({error}); get or save it again") from error
    header.pop("__metadata__", None)
    return {name: _view(memory, begin, name, entry, path) for name, entry in sorted(header.items())}


def _view(memory: mmap.mmap, begin: int, name: str, entry: dict[str, Any], path: Path) -> Tensor:
    if entry["dtype"] not in DTYPES:
        raise CheckpointError(f"{path}: {name!r} is stored as {entry['dtype']}, which is not read: {', '.join(DTYPES)}")
    dtype, (start, stop) = DTYPES[entry["dtype"]], entry["data_offsets"]
    if start == stop:
        return torch.empty(entry["shape"], dtype=dtype)
    held = np.frombuffer(memory, np.uint8, stop - start, begin + start)
    weakref.finalize(held, _forget, memory, begin + start, begin + stop).atexit = False
    return torch.frombuffer(held, dtype=dtype).view(entry["shape"])


def _forget(memory: mmap.mmap, start: int, stop: int) -> None:
    """Lets the system take back the pages that a tensor had for itself, where it can be told so."""
    first = -(-start // mmap.PAGESIZE) * mmap.PAGESIZE
    last = stop // mmap.PAGESIZE * mmap.PAGESIZE
    if last > first and os.name == "posix":
        memory.madvise(mmap.MADV_DONTNEED, first, last - first)
