"""Settings of the text that a model learns from: which sources, how they are read, how they are split."""

import re
from dataclasses import dataclass
from typing import Annotated, ClassVar

import cyclopts

from nextword.core.errors import SettingsError
from nextword.core.settings import in_range

ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\"}


@dataclass(frozen=True, kw_only=True)
class TextSettings:
    """Which text, and how it is read."""

    MAIN: ClassVar[str] = "sources"  # `--text FILE` stands for `--text.sources FILE`

    sources: Annotated[tuple[str, ...], cyclopts.Parameter(alias="--text")] = ()
    """Files (txt, jsonl, csv, parquet, also .gz, .zst), folders, globs, python-docs, tinyworld, hub:OWNER/DATASET."""
    separator: Annotated[str | None, cyclopts.Parameter(alias="--separator", allow_leading_hyphen=True)] = None
    r"""What stands between two documents of a txt file, such as "\n\n"; without it a file is one document."""
    text_column: Annotated[str, cyclopts.Parameter(alias="--text-column")] = "text"
    """The jsonl key, or csv or parquet column, that holds the text."""
    max_document_mb: float | None = None
    """The longest document allowed, in MB of UTF-8; by default 1/64 of this machine's memory."""

    def __post_init__(self) -> None:
        """Refuses what cannot be meant."""
        if self.max_document_mb is not None:
            in_range("text.max_document_mb", self.max_document_mb, 1e-6)
        if self.separator == "":
            raise SettingsError('text.separator is empty; write for example --separator "\\n\\n", or leave it out')
        if self.text_column == "":
            raise SettingsError("text.text_column is empty; write the name of the column that holds the text")
        if self.separator is not None:
            unescape(self.separator)


@dataclass(frozen=True, kw_only=True)
class SplitSettings:
    """How validation text is set apart from training text."""

    split_at: Annotated[float | None, cyclopts.Parameter(alias="--split-at")] = None
    """Cut all text at this share of its characters: 0.9 trains on the first 90 %, validates on the rest."""
    validation: float = 0.05
    """The share set apart for validation when no split_at is given; 0 for none."""
    min_documents: int = 20
    """Fewer validation documents than this from a source: its text is cut by position instead."""

    def __post_init__(self) -> None:
        """Refuses shares that leave one side empty."""
        if self.split_at is not None and not 0 < self.split_at < 1:
            raise SettingsError(f"split.split_at must lie between 0 and 1, for example 0.9, received {self.split_at!r}")
        in_range("split.validation", self.validation, 0, 0.5)
        in_range("split.min_documents", self.min_documents, 1)


def unescape(separator: str) -> str:
    r"""The separator with `\n`, `\t`, `\r` and `\\` replaced by what they stand for, as a shell passes them on unread.

    >>> unescape(r"\n\n")
    '\n\n'
    """

    def replace(match: re.Match[str]) -> str:
        if match[1] not in ESCAPES:
            raise SettingsError(
                f"text.separator: {match[0]!r} is no escape that is understood; there are \\n, \\t, \\r and \\\\"
            )
        return ESCAPES[match[1]]

    return re.sub(r"\\(.?)", replace, separator, flags=re.DOTALL)
