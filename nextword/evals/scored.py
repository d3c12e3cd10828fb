"""The probability of a text token by token: where a model expected what came, and where it was surprised.

log p(text) = Σ_t log p(w_t | w_1 … w_{t−1})
"""

from collections.abc import Sequence
from dataclasses import dataclass

from nextword.evals import perplexity
from nextword.evals.settings import EvaluateSection
from nextword.evals.windows import Text, cut
from nextword.models.base import LanguageModel
from nextword.tokenizers.base import Tokenizer


@dataclass(frozen=True)
class ScoredToken:
    """A token of a text: its id, the text that it stands for, and log p given what stands before it (nats).

    The log-probability is None for a first token with nothing before it (a tokenizer without a token that begins
    texts).
    """

    id: int
    text: str
    logprob: float | None


def scored(model: LanguageModel, tokenizer: Tokenizer, ids: Sequence[int]) -> list[ScoredToken]:
    """Every token of a text, which is read in windows that overlap by half where it is longer than the context."""
    begin = tokenizer.bos_id
    text = Text(list(ids) if begin is None else [begin, *ids], "text", 0, 0)
    settings = EvaluateSection()
    windows = list(cut(text, 0, model.max_length, settings.overlap))
    scores = {id(window): logps for window, logps in perplexity.score(model, windows, settings.batch_tokens)}
    logprobs: list[float | None] = [None] if begin is None and ids else []
    for window in windows:
        logprobs += scores[id(window)].tolist()
    decoder = tokenizer.decoder()
    pieces = [decoder.push(number) for number in ids]
    if pieces:
        pieces[-1] += decoder.flush()
    return [ScoredToken(*parts) for parts in zip(ids, pieces, logprobs, strict=True)]
