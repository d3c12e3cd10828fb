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


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation; trained: whether a model learns to write it (None: if it is the assistant's)."""

    role: str
    content: str
    trained: bool | None = None

    @property
    def is_trained(self) -> bool:
        """Whether a model learns to write it."""
        return self.role == "assistant" if self.trained is None else self.trained


@dataclass(frozen=True, slots=True)
class Conversation:
    """Messages in turn, as a chat model reads and writes them."""

    messages: tuple[Message, ...]
