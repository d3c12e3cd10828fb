"""How the next token is chosen: the settings of sampling."""

from dataclasses import dataclass

from nextword.core.errors import SettingsError
from nextword.core.settings import in_range

DEFAULT_TOKENS = 256  # what `max_tokens = None` allows where the model's context leaves more
LARGEST_SEED = 2**63 - 1
MOST_ALTERNATIVES = 1000


@dataclass(frozen=True, kw_only=True)
class SamplingSettings:
    """How tokens are chosen and when a text ends."""

    max_tokens: int | None = None
    "The most tokens to generate (256, or what the model's context leaves)."
    temperature: float = 1.0
    "The logits are divided by it: below 1 bolder, above 1 more varied, 0 always takes the likeliest token."
    top_k: int | None = None
    "Choose among the k likeliest tokens only."
    top_p: float = 1.0
    "Choose among the fewest tokens whose probabilities sum to at least p."
    seed: int | None = None
    "The same seed gives the same text, alone or in a batch (drawn anew each time)."
    stop: tuple[str, ...] = ()
    "Texts at which to stop; they are not part of the result."
    top_logprobs: int = 0
    "How many of the likeliest tokens to give in every place, with their log-probabilities under the model itself."

    def __post_init__(self) -> None:
        if self.max_tokens is not None:
            in_range("max_tokens", self.max_tokens, 1)
        in_range("temperature", self.temperature, 0)
        if self.top_k is not None:
            in_range("top_k", self.top_k, 1)
        in_range("top_p", self.top_p, 0, 1)
        if self.top_p == 0:
            raise SettingsError(
                "top_p must be above 0 (an empty set of tokens cannot be chosen from); for greedy use temperature 0"
            )
        if self.seed is not None:
            in_range("seed", self.seed, 0, LARGEST_SEED)
        in_range("top_logprobs", self.top_logprobs, 0, MOST_ALTERNATIVES)
        if any(not text for text in self.stop):
            raise SettingsError("a stop text must not be empty")
