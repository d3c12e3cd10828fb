"""Training and validation text, set apart so that neither sees the other.

Per source: where there are enough documents, each goes to validation or not by a hash of its text alone (identical
documents fall on the same side, and adding documents moves no other one); where there are few, the last characters are
the validation text, and the document that the cut meets is cut in two. `split_at` cuts the whole stream at one
position, as nanoGPT does: `text[:int(n * 0.9)]` trains, the rest validates.

A first pass over the documents counts; the second gives them out.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Literal

from nextword.core.errors import DataError
from nextword.core.records import Document
from nextword.text.settings import SplitSettings

Side = Literal["train", "validation"]
HASH_BITS = 64
PERSON = b"nextword split"  # keeps this hash apart from any other use of the same text's hash


@dataclass
class Tally:
    """What the first pass counts of one source."""

    documents: int = 0
    characters: int = 0
    chosen: int = 0  # documents that their hash sends to validation
    chosen_characters: int = 0


@dataclass
class Split:
    """The documents with their sides, as often as it is iterated; `sentence` says how they were split."""

    open: Callable[[], Iterator[Document]]
    settings: SplitSettings
    tallies: dict[str, Tally]  # by source, in their order
    cuts: dict[str, int]  # by source, "" for the whole stream: how many characters train; others go by document
    sentence: str = field(default="")

    def __iter__(self) -> Iterator[tuple[Side, Document]]:
        """("train" | "validation", document) in the order of the stream.

        Raises DataError when the documents are no longer those that were counted.
        """
        taken: dict[str, int] = {}
        for document in self.open():
            key = self._key(document)
            before = taken.get(key, 0)
            taken[key] = before + len(document.text)
            if key not in self.cuts:
                yield "validation" if by_hash(document.text, self.settings.validation) else "train", document
            else:
                yield from cut(document, self.cuts[key] - before)
        if sum(taken.values()) != self.characters:
            raise DataError("the text changed while it was read; leave the files alone and run the command again")

    def side(self, name: Side) -> Iterator[Document]:
        """The documents of one side."""
        return (document for side, document in self if side == name)

    @property
    def documents(self) -> int:
        """How many documents there are before any is cut."""
        return sum(tally.documents for tally in self.tallies.values())

    @property
    def characters(self) -> int:
        """How many characters there are on both sides."""
        return sum(tally.characters for tally in self.tallies.values())

    @property
    def validation_characters(self) -> int:
        """How many of them are on the side of validation; 0 means that there is nothing to validate on."""
        if "" in self.cuts:
            return self.characters - self.cuts[""]
        return sum(
            tally.characters - self.cuts[source] if source in self.cuts else tally.chosen_characters
            for source, tally in self.tallies.items()
        )

    def _key(self, document: Document) -> str:
        return "" if "" in self.cuts else document.source


def split(open: Callable[[], Iterator[Document]], settings: SplitSettings) -> Split:  # noqa: A002
    """Counts the documents that `open()` gives and decides how they are split; iterate the result to get them.

    `open` must give the same documents each time. Raises DataError when there is no text at all.
    """
    tallies: dict[str, Tally] = {}
    for document in open():
        tally = tallies.setdefault(document.source, Tally())
        tally.documents += 1
        tally.characters += len(document.text)
        if settings.split_at is None and by_hash(document.text, settings.validation):
            tally.chosen += 1
            tally.chosen_characters += len(document.text)
    total = sum(tally.characters for tally in tallies.values())
    if total == 0:
        raise DataError("there is no text to split: every source is empty; name a source that has text")
    if settings.split_at is not None:
        cuts = {"": position(total, settings.split_at)}
    else:
        cuts = {
            source: position(tally.characters, 1 - settings.validation)
            for source, tally in tallies.items()
            if settings.validation > 0 and not enough(tally, settings)
        }
    plan = Split(open, settings, tallies, cuts)
    plan.sentence = describe(plan)
    return plan


def enough(tally: Tally, settings: SplitSettings) -> bool:
    """Whether a source has documents enough to choose by document: `min_documents` expected, and both sides filled."""
    return tally.documents * settings.validation >= settings.min_documents and 0 < tally.chosen < tally.documents


def position(characters: int, share: float) -> int:
    """How many characters train: `int(characters * share)`, but at least one, since nothing learns from nothing."""
    return max(1, int(characters * share))


def by_hash(text: str, share: float) -> bool:
    """Whether this text belongs to validation: its hash, read as a number from 0 to 1, lies below `share`."""
    digest = blake2b(text.encode(), digest_size=HASH_BITS // 8, person=PERSON).digest()
    return int.from_bytes(digest, "little") < share * float(1 << HASH_BITS)


def cut(document: Document, at: int) -> Iterator[tuple[Side, Document]]:
    """The document on its side of character `at` (counted from its start), or in two where it lies across."""
    if at >= len(document.text):
        yield "train", document
    elif at <= 0:
        yield "validation", document
    else:
        yield "train", replace(document, id=f"{document.id}[:{at}]", text=document.text[:at])
        yield "validation", replace(document, id=f"{document.id}[{at}:]", text=document.text[at:])


def describe(plan: Split) -> str:
    """One sentence that says how the text was split."""
    settings, total = plan.settings, plan.characters
    if "" in plan.cuts:
        at = plan.cuts[""]
        return f"split by position: the first {at:,} of {total:,} characters train, the last {total - at:,} validate"
    if settings.validation == 0:
        return f"all {total:,} characters train, none validate"
    share = f"{100 * settings.validation:g} %"
    parts = []
    chosen = [source for source in plan.tallies if source not in plan.cuts]
    if chosen:
        count = sum(plan.tallies[source].chosen for source in chosen)
        of = sum(plan.tallies[source].documents for source in chosen)
        parts.append(f"{count:,} of {of:,} documents validate ({share} by a hash of their text: {', '.join(chosen)})")
    for source, at in plan.cuts.items():
        tally = plan.tallies[source]
        few = f"has only {tally.documents:,} document{'s' if tally.documents > 1 else ''}"
        parts.append(f"the last {tally.characters - at:,} characters of {source} validate ({share}: it {few})")
    return "; ".join(parts)
