"""Perplexity: how many equally likely choices the model's uncertainty amounts to, on text that it has not seen.

    perplexity per token = exp(−Σ log p(token | what stands before it in its text) / number of tokens scored)
    perplexity per word, per byte = the same sum, divided by words (between white space) or by bytes of UTF-8
    bits per byte = −Σ log₂ p / bytes

Per token depends on the vocabulary: a model of characters has a small one and is not better for it. Per byte and per
word compare models with different tokenizers. Every text is scored alone, after the token that begins a text, which is
context and not scored itself; the end token is scored only on request. (Jelinek et al., "Perplexity: a measure of the
difficulty of speech recognition tasks", 1977.)
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from nextword.core.errors import DataError, SettingsError
from nextword.evals.settings import EvaluateSection
from nextword.evals.windows import Text, Window, cut
from nextword.models.base import IGNORED, Batch, LanguageModel
from nextword.models.finite import finite

SORTED_TOGETHER = 16  # batches' worth of windows that are sorted by length, so that little padding is computed


@dataclass
class Sums:
    """What has been scored: −log p in nats (fp64), tokens, texts, and the words and bytes of those texts."""

    nats: float = 0.0
    tokens: int = 0
    texts: int = 0
    words: int = 0
    bytes: int = 0

    def add(self, other: "Sums") -> None:
        """Adds another source's sums."""
        self.nats += other.nats
        self.tokens += other.tokens
        self.texts += other.texts
        self.words += other.words
        self.bytes += other.bytes

    def figures(self) -> dict[str, float | int | None]:
        """The figures by name; None where there is nothing to divide by (a text without words)."""
        return {
            "texts": self.texts,
            "tokens": self.tokens,
            "words": self.words,
            "bytes": self.bytes,
            "nats": self.nats,
            "loss": self.nats / self.tokens if self.tokens else None,
            "perplexity": _perplexity(self.nats, self.tokens),
            "perplexity_per_word": _perplexity(self.nats, self.words),
            "perplexity_per_byte": _perplexity(self.nats, self.bytes),
            "bits_per_byte": self.nats / math.log(2) / self.bytes if self.bytes else None,
        }


def _perplexity(nats: float, count: int) -> float | None:
    if not count:
        return None
    try:
        return math.exp(nats / count)
    except OverflowError:
        return math.inf


def perplexity(
    model: LanguageModel,
    texts: Iterable[Text],
    settings: EvaluateSection,
    progress: Callable[[int, Sums], None] | None = None,
) -> dict[str, Any]:
    """Scores texts; figures over all of them and by source (`Sums.figures`), and a sentence that says what they mean.

    `progress` gets the tokens done and the sums so far. DataError when there is nothing to score.
    """
    sources: dict[str, Sums] = defaultdict(Sums)
    whole = Sums()

    def windows() -> Iterator[Window]:
        tokens = 0
        for number, text in enumerate(texts):
            if settings.max_tokens is not None and tokens >= settings.max_tokens:
                return
            for window in cut(text, number, model.max_length, settings.overlap):
                tokens += window.scored
                yield window

    for window, logps in score(model, windows(), settings.batch_tokens):
        text = window.text
        part = Sums(-float(logps.sum()), len(logps), *((1, text.words, text.bytes) if window.first else (0, 0, 0)))
        sources[text.source].add(part)
        whole.add(part)
        if progress is not None:
            progress(whole.tokens, whole)
    if not whole.tokens:
        raise DataError("there is nothing to score: every text is empty, or a single token with nothing before it")
    return {
        "what": meaning(settings, model.max_length),
        "all": whole.figures(),
        "sources": {name: sums.figures() for name, sums in sorted(sources.items())},
    }


def meaning(settings: EvaluateSection, max_length: int | None) -> str:
    """A sentence that says what is scored."""
    if settings.windows is not None:
        return f"the token stream in windows of {settings.windows} tokens, each read without what stands before it"
    end = "and its end token" if settings.score_end else "without its end token"
    long = f", in windows of {max_length} tokens that overlap by {settings.overlap:.0%} where it is longer"
    return f"each text alone, every token after the one that begins it, {end}{long if max_length else ''}"


@torch.inference_mode()
def _score_batch(model: LanguageModel, windows: list[Window]) -> list[Tensor]:
    """log p of the scored tokens of each window, fp64."""
    longest = max(len(window.ids) - 1 for window in windows)
    ids_BT = torch.zeros(len(windows), longest, dtype=torch.int64)
    labels_BT = torch.full((len(windows), longest), IGNORED)
    mask_BT = torch.zeros(len(windows), longest, dtype=torch.bool)
    for row, window in enumerate(windows):
        ids = torch.tensor(window.ids)
        ids_BT[row, : len(ids) - 1] = ids[:-1]
        labels_BT[row, window.context : len(ids) - 1] = ids[window.context + 1 :]
        mask_BT[row, : len(ids) - 1] = True
    device = model.start(1, 1).lengths_B.device
    batch = Batch(ids_BT.to(device), None if bool(mask_BT.all()) else mask_BT.to(device))
    logp_BT = finite(model.score(batch, labels_BT.to(device)), model).cpu().double()
    return [logp_BT[row, window.context : len(window.ids) - 1] for row, window in enumerate(windows)]


def score(model: LanguageModel, windows: Iterable[Window], batch_tokens: int) -> Iterator[tuple[Window, Tensor]]:
    """Each window with log p of its scored tokens (fp64), in batches of at most `batch_tokens` of similar length.

    The order is not that of the input. SettingsError for a model that does not read from left to right.
    """
    if model.kind != "decoder":
        raise SettingsError(
            f"an {model.kind} gives no probability of a text from left to right: score texts with a decoder"
        )
    stream = iter(windows)
    while True:
        pool: list[Window] = []
        tokens = 0
        while tokens < SORTED_TOGETHER * batch_tokens and (taken := list(islice(stream, 1))):
            pool += taken
            tokens += len(taken[0].ids)
        if not pool:
            return
        pool.sort(key=lambda window: len(window.ids), reverse=True)
        while pool:
            rows = max(1, batch_tokens // max(1, len(pool[0].ids) - 1))
            batch, pool = pool[:rows], pool[rows:]
            yield from zip(batch, _score_batch(model, batch), strict=True)
