"""How the next token is chosen: the settings of sampling."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

from nextword.core.errors import SettingsError
from nextword.core.settings import in_range
from nextword.decode.flags import by_number, sequences

DEFAULT_TOKENS = 256  # what `max_tokens = None` allows where the model's context leaves more
LARGEST_SEED = 2**63 - 1
MOST_ALTERNATIVES = 1000
COLDEST = 1e-4  # a smaller temperature is greedy in all but name, and the smallest would overflow what they divide
OPENAI_PENALTY = 2.0  # presence and frequency penalties reach from -2 to 2 in OpenAI's interface
LARGEST_BIAS = 100.0  # and biases from -100 to 100
CONSTRAINTS = ("regex", "json_schema", "grammar")  # of which there can be one


@dataclass(frozen=True, kw_only=True)
class SamplingSettings:
    """How tokens are chosen and when a text ends."""

    max_tokens: int | None = None
    "The most tokens to generate (256, or what the model's context leaves)."
    min_tokens: int = 0
    "The fewest tokens before the text may end by itself."
    temperature: float = 1.0
    "The logits are divided by it: below 1 bolder, above 1 more varied, 0 always takes the likeliest token."
    top_k: int | None = None
    "Choose among the k likeliest tokens only."
    top_p: float = 1.0
    "Choose among the fewest tokens whose probabilities sum to at least p."
    min_p: float = 0.0
    "Choose among tokens at least p times as likely as the likeliest."
    typical_p: float = 1.0
    "Choose among tokens about as surprising as the model expects, whose probabilities sum to at least p."
    epsilon: float = 0.0
    "Choose among tokens with at least this probability (epsilon sampling)."
    eta: float = 0.0
    "The same with a bar that falls where the model is unsure (eta sampling)."
    repetition_penalty: float = 1.0
    "Above 1, scores of tokens that occurred (in the prompt, too) are divided by it if positive, else multiplied."
    presence_penalty: float = 0.0
    "Subtracted from the scores of tokens that were generated, -2 to 2."
    frequency_penalty: float = 0.0
    "Subtracted from the scores of tokens for each time that they were generated, -2 to 2."
    no_repeat_ngram: int | None = None
    "No n tokens in a row occur twice."
    logit_bias: Annotated[Mapping[int, float], by_number(float)] = field(default_factory=dict, hash=False)
    "Added to the scores of tokens by their ids, -100 to 100, such as 5=-3,7=2."
    banned_ids: Annotated[tuple[tuple[int, ...], ...], sequences()] = ()
    "Sequences of token ids that are never completed, such as 5 7,8 for token 5, and 8 after 7."
    forced: Annotated[Mapping[int, int], by_number(int)] = field(default_factory=dict, hash=False)
    "Token ids by place, such as 0=7,-1=2: 0 is the first new token, -1 the last that may be generated."
    regex: str | None = None
    "The text is what this regular expression describes."
    json_schema: str | None = None
    "The text is JSON that this JSON Schema describes; on the command line also a file."
    grammar: str | None = None
    "The text is what this grammar describes: GBNF (root ::= ...) or Lark (start: ...), or a file of it."
    seed: int | None = None
    "The same seed gives the same text, alone or in a batch (drawn anew each time)."
    stop: tuple[str, ...] = ()
    "Texts at which to stop; they are not part of the result."
    top_logprobs: int = 0
    "How many of the likeliest tokens to give in every place, with their log-probabilities under the model itself."

    def __post_init__(self) -> None:
        self._check_lengths()
        self._check_cuts()
        self._check_tokens()
        self._check_constraint()
        if self.seed is not None:
            in_range("seed", self.seed, 0, LARGEST_SEED)
        in_range("top_logprobs", self.top_logprobs, 0, MOST_ALTERNATIVES)
        if any(not text for text in self.stop):
            raise SettingsError("a stop text must not be empty")

    def _check_lengths(self) -> None:
        if self.max_tokens is not None:
            in_range("max_tokens", self.max_tokens, 1)
        in_range("min_tokens", self.min_tokens, 0)
        if self.max_tokens is not None and self.min_tokens > self.max_tokens:
            raise SettingsError(
                f"min_tokens ({self.min_tokens}) is more than max_tokens ({self.max_tokens}): no text has such a length"
            )

    def _check_cuts(self) -> None:
        in_range("temperature", self.temperature, 0)
        if 0 < self.temperature < COLDEST:
            raise SettingsError(
                f"temperature must be 0 (greedy) or at least {COLDEST:g}, received {self.temperature!r}"
            )
        if self.top_k is not None:
            in_range("top_k", self.top_k, 1)
        for name, share in (("top_p", self.top_p), ("typical_p", self.typical_p)):
            in_range(name, share, 0, 1)
            if share == 0:
                raise SettingsError(
                    f"{name} must be above 0 (an empty set of tokens leaves no choice); for greedy use temperature 0"
                )
        in_range("min_p", self.min_p, 0, 1)
        for name, bar in (("epsilon", self.epsilon), ("eta", self.eta)):
            in_range(name, bar, 0, 1)

    def _check_tokens(self) -> None:
        if not 0 < self.repetition_penalty < float("inf"):
            raise SettingsError(
                f"repetition_penalty must be above 0 (1 is none, 1.2 a usual one), received {self.repetition_penalty!r}"
            )
        in_range("presence_penalty", self.presence_penalty, -OPENAI_PENALTY, OPENAI_PENALTY)
        in_range("frequency_penalty", self.frequency_penalty, -OPENAI_PENALTY, OPENAI_PENALTY)
        if self.no_repeat_ngram is not None:
            in_range("no_repeat_ngram", self.no_repeat_ngram, 1)
        for token, bias in self.logit_bias.items():
            in_range(f"logit_bias of token {token}", bias, -LARGEST_BIAS, LARGEST_BIAS)
        if any(not ids for ids in self.banned_ids):
            raise SettingsError("banned_ids: a sequence must have at least one token")

    def _check_constraint(self) -> None:
        given = [name for name in CONSTRAINTS if getattr(self, name) is not None]
        if len(given) > 1:
            raise SettingsError(f"{given[0]} and {given[1]} cannot both say what the text is: leave one out")
        if given and not getattr(self, given[0]).strip():
            raise SettingsError(f"{given[0]} is empty: leave it out where anything is allowed")
        for name, value in (("forced", self.forced), ("min_tokens", self.min_tokens)):
            if given and value:
                raise SettingsError(f"{name} cannot be kept to where {given[0]} decides what comes: leave one out")
