"""Learning a tokenizer from texts: reads them as a stream, the same texts give the same tokenizer."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from nextword.core.errors import DataError, NextwordError, SettingsError
from nextword.core.progress import Progress
from nextword.tokenizers.base import Tokenizer, check_unicode
from nextword.tokenizers.kind import find
from nextword.tokenizers.purpose import added, dress, roles
from nextword.tokenizers.settings import TokenizerSettings


def train(
    settings: TokenizerSettings, texts: Iterable[str], *, characters: int | None = None, quiet: bool = True
) -> Tokenizer:
    """A tokenizer of the wanted kind, learnt from `texts`.

    `texts` is read once and never held (twice for wordpiece, which needs something that can be iterated again, such as
    a list); `characters` is their length in all if known, for the progress line. Errors: DataError for no text at all
    and for a vocabulary larger than the texts allow; SettingsError for one that is too small, and for a setting that
    the kind does not honour.
    """
    kind = find(settings.kind)
    for name in ("vocab_size", "min_frequency", "ngram"):
        if getattr(settings, name) is not None and name not in kind.honours:
            raise SettingsError(
                f"tokenizer.{name} has no effect on the kind {settings.kind!r}: leave it out or choose another kind"
            )
    if kind.passes > 1 and iter(texts) is texts:
        raise DataError(
            f"training a {settings.kind} tokenizer reads the texts {kind.passes} times: give a list, not an iterator"
        )
    counted = Counted(texts, characters, quiet)
    nothing = DataError("there is no text to train a tokenizer on: no document, or only empty ones")
    try:
        inner = kind.train(less(settings), counted)
    except NextwordError:
        if counted.complete and not counted.characters:
            raise nothing from None
        raise
    if not counted.characters:
        raise nothing
    inner = dress(inner, settings)
    lossless = kind.lossless == "any text" and not settings.lowercase
    return Tokenizer(inner, settings.kind, lossless, roles(settings, inner))


def less(settings: TokenizerSettings) -> TokenizerSettings:
    """The settings with room left in the vocabulary for the special tokens that are added behind it."""
    if settings.vocab_size is None:
        return settings
    return replace(settings, vocab_size=max(settings.vocab_size - len(added(settings)), 2))


class Counted:
    """The texts that are not empty, checked, counted, and shown as progress while they are read."""

    def __init__(self, texts: Iterable[str], total: int | None, quiet: bool) -> None:
        self.texts, self.total, self.quiet = texts, total, quiet
        self.characters, self.complete = 0, False

    def __iter__(self) -> Iterator[str]:
        read = 0
        with Progress("reading text", self.total, "characters", quiet=self.quiet) as progress:
            for text in self.texts:
                if text:
                    check_unicode(text)
                    read += len(text)
                    self.characters = max(self.characters, read)
                    yield text
                    progress.update(read)
        self.complete = True
