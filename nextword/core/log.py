"""The log of a training run: `log.jsonl`, one JSON object a line, one line a step.

A checkpoint remembers how long the log was; a run that resumes from it cuts the log back to there, so that the log of
an interrupted run reads like that of an uninterrupted one.
"""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from nextword.core.files import disk_errors


class StepLog:
    """Appends lines to `path`, after cutting it back to its first `position` bytes."""

    def __init__(self, path: Path, position: int = 0) -> None:
        self.path = path
        with disk_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self.file = path.open("ab")
            self.file.truncate(min(position, self.file.tell()))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.file.close()

    def write(self, record: Mapping[str, Any]) -> None:
        """Appends one record; a number that is not finite is written as null (JSON has no other word for it)."""
        plain = {
            key: None if isinstance(value, float) and not math.isfinite(value) else value
            for key, value in record.items()
        }
        with disk_errors(self.path):
            self.file.write(json.dumps(plain, ensure_ascii=False).encode() + b"\n")
            self.file.flush()

    def position(self) -> int:
        """The log's length in bytes."""
        return os.fstat(self.file.fileno()).st_size


def read(path: Path) -> list[dict[str, Any]]:
    """The records in a log; a last line that a killed process left unfinished is left out."""
    if not path.exists():
        return []
    lines = path.read_bytes().split(b"\n")
    return [json.loads(line) for line in lines[:-1] if line]
