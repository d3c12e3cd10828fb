"""Tensors laid out in memory exactly as in a safetensors file, so that saving them is one copy and one write.

The buffer is made once and used for every checkpoint: the training thread only copies into it, and the thread that
writes passes it on to the disk as it is, with the SHA-256 computed on the way.

A safetensors file: 8 bytes with the header's length, the header (JSON: dtype, shape and place of each tensor), data.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

NAMES = {torch.float64: "F64", torch.float32: "F32", torch.bfloat16: "BF16", torch.float16: "F16", torch.int64: "I64",
         torch.int32: "I32", torch.uint8: "U8", torch.bool: "BOOL"}  # fmt: skip
ALIGNMENT = 64  # bytes; where the first tensor starts
CHUNK_BYTES = 8 << 20


class Image:
    """The image of a file with tensors of the same names, shapes and dtypes as `tensors`."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        order = sorted(tensors, key=lambda name: (-tensors[name].itemsize, name))  # wide ones first: all are aligned
        header, end = {}, 0
        for name in order:
            start, end = end, end + tensors[name].nbytes
            header[name] = {"dtype": NAMES[tensors[name].dtype], "shape": list(tensors[name].shape),
                            "data_offsets": [start, end]}  # fmt: skip
        text = json.dumps(header).encode()
        text += b" " * (-(8 + len(text)) % ALIGNMENT)
        first = 8 + len(text)
        pinned = any(tensor.is_cuda for tensor in tensors.values())
        self.buffer = torch.zeros(first + end, dtype=torch.uint8, pin_memory=pinned)
        self.buffer[:first] = torch.frombuffer(bytearray(len(text).to_bytes(8, "little") + text), dtype=torch.uint8)
        self.views = {}
        for name in order:
            start, stop = (first + offset for offset in header[name]["data_offsets"])
            self.views[name] = self.buffer[start:stop].view(tensors[name].dtype).view(tensors[name].shape)

    def fits(self, tensors: Mapping[str, Tensor]) -> bool:
        """Whether the image was made for tensors of these names, shapes and dtypes."""
        return self.views.keys() == tensors.keys() and all(
            view.shape == tensors[name].shape and view.dtype == tensors[name].dtype for name, view in self.views.items()
        )

    def take(self, tensors: Mapping[str, Tensor]) -> None:
        """Copies the tensors' values in."""
        for name, view in self.views.items():
            view.copy_(tensors[name], non_blocking=True)
        if any(tensor.is_cuda for tensor in tensors.values()):
            torch.cuda.synchronize()

    def write(self, path: Path) -> str:
        """Writes the file; its SHA-256."""
        digest, whole = hashlib.sha256(), memoryview(self.buffer.numpy())
        with path.open("wb") as file:
            for start in range(0, len(whole), CHUNK_BYTES):
                chunk = whole[start : start + CHUNK_BYTES]
                digest.update(chunk)
                file.write(chunk)
        return digest.hexdigest()
