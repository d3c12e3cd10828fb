"""The records that travel between the stages of a language model's life."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Document:
    """One text with an identity.

    `id` is stable from run to run (file name and record number), so that a split by document is too; `source` names
    where it came from (`"python-docs"`, `"tinyworld"`, a file's path), and evaluation reports figures by source.
    """

    id: str
    text: str
    source: str
    url: str | None = None
    meta: Mapping[str, object] = field(default_factory=dict)
