"""What is asked of the engine, and what comes back."""

import secrets
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from nextword.core.errors import SettingsError
from nextword.decode.row import Asked, Blank, Decoding, Hypothesis, Row, Top
from nextword.decode.settings import DEFAULT_TOKENS, SamplingSettings
from nextword.decode.strategy import check
from nextword.decode.strategy_settings import StrategySettings
from nextword.models.base import LanguageModel
from nextword.tokenizers.base import Tokenizer

DRAWN_SEED_BITS = 31  # of a seed that the user left to us: short enough to type again


@dataclass(frozen=True)
class Request:
    """One prompt to be continued.

    ids: the prompt, at least one token. eos_ids: tokens that end a text. tokenizer: turns the new tokens into text;
    without one the result has tokens only, and stop texts cannot be seen. source: what an encoder-decoder reads; the
    prompt is then the beginning of what it writes. strategy: how tokens are searched for; sampling if nothing is said.
    blank: how an encoder is asked to write.
    """

    ids: tuple[int, ...]
    settings: SamplingSettings = field(default_factory=SamplingSettings)
    eos_ids: frozenset[int] = frozenset()
    tokenizer: Decoding | None = None
    source: tuple[int, ...] | None = None
    strategy: StrategySettings = field(default_factory=StrategySettings)
    blank: Blank | None = None

    def __post_init__(self) -> None:
        if not self.ids:
            raise SettingsError(
                "the prompt is empty and the tokenizer has no token that begins a text: give at least one token"
            )
        if self.settings.stop and self.tokenizer is None:
            raise SettingsError("stop texts need a tokenizer: tokens alone do not show where a text begins and ends")

    @classmethod
    def of(cls, tokenizer: Tokenizer, prompt: str, settings: SamplingSettings) -> "Request":
        """A prompt in words: after the token that begins a text, where the tokenizer has one, as in training."""
        ids = tuple(tokenizer.encode(prompt))
        begin = () if tokenizer.bos_id is None else (tokenizer.bos_id,)
        return cls(begin + ids, settings, tokenizer.stops, tokenizer)

    @classmethod
    def about(
        cls, model: LanguageModel, tokenizer: Tokenizer, source: tuple[int, ...], settings: SamplingSettings
    ) -> "Request":
        """What an encoder-decoder is to write about the ids of a source, which gets what sources begin and end with.

        The text begins with the token that the config forces to be the first (BART's summaries, mBART's languages).
        """
        ends = () if tokenizer.eos_id is None else (tokenizer.eos_id,)
        forced = model.config.get("forced_bos_token_id")
        begin = (start_id(model, tokenizer), *(() if forced is None else (int(forced),)))
        framed = tuple(tokenizer.framed(source)) if tokenizer.ends else source + ends
        return cls(begin, settings, tokenizer.stops, tokenizer, framed)

    @classmethod
    def masked(cls, tokenizer: Tokenizer, prompt: str, settings: SamplingSettings) -> "Request":
        """A prompt that an encoder is to go on with, by filling masks behind it."""
        if tokenizer.mask_id is None:
            raise SettingsError(
                "this tokenizer has no mask token, so the model was not made to fill masks: train one with "
                "`nextword tokenizer train --for bert`"
            )
        if settings.max_tokens is None:
            raise SettingsError(
                "an encoder writes as many tokens as there are masks, so it must be told how many: set max_tokens (or "
                "write the masks yourself and use fill)"
            )
        begin = () if tokenizer.cls_id is None else (tokenizer.cls_id,)
        after = () if tokenizer.sep_id is None else (tokenizer.sep_id,)
        blank = Blank(tokenizer.mask_id, after, tuple(tokenizer.specials))
        return cls((*begin, *tokenizer.encode(prompt)), settings, frozenset(), tokenizer, blank=blank)

    def limit(self, max_length: int | None) -> int:
        """How many tokens may be generated; SettingsError when prompt and max_tokens exceed the model's max_length."""
        wanted = self.settings.max_tokens
        if max_length is None:
            return wanted or DEFAULT_TOKENS
        room = max_length - len(self.ids) - (len(self.blank.after) if self.blank else 0)
        if room < 1:
            raise SettingsError(
                f"the prompt has {len(self.ids)} tokens, the model reads at most {max_length}: "
                f"shorten the prompt to at most {max_length - 1}"
            )
        if wanted is not None and wanted > room:
            raise SettingsError(
                f"the prompt ({len(self.ids)} tokens) and max_tokens ({wanted}) exceed the model's max_length "
                f"({max_length}): set max_tokens to at most {room}, or shorten the prompt"
            )
        return wanted or min(DEFAULT_TOKENS, room)

    def seed(self) -> int:
        """The seed that was set, or one drawn anew."""
        return secrets.randbits(DRAWN_SEED_BITS) if self.settings.seed is None else self.settings.seed

    def row(self, index: int, model: LanguageModel) -> Row:
        """A row that has said nothing yet; SettingsError for what does not fit the model."""
        if (model.kind == "encoder-decoder") != (self.source is not None):
            given = "with" if self.source else "without"
            raise SettingsError(f"a request {given} a source does not fit this {model.kind}")
        if (model.kind == "encoder") != (self.blank is not None):
            raise SettingsError(
                "only an encoder is asked to fill a blank: `nextword.engine.request.ask` asks each kind"
            )
        check(self.strategy, self.settings, model.kind)
        limit, seed = self.limit(model.max_length), self.seed()
        rest = limit, seed, model.vocab_size, self.tokenizer, self.source, self.blank
        return Row(Asked(index, self.ids, self.settings, self.strategy, self.eos_ids, *rest))


def ask(model: LanguageModel, tokenizer: Tokenizer, prompt: str, settings: SamplingSettings) -> Request:
    """A prompt in words as the model takes it.

    A decoder continues it, an encoder-decoder reads it as its source, an encoder fills max_tokens masks behind it.
    """
    match model.kind:
        case "decoder":
            return Request.of(tokenizer, prompt, settings)
        case "encoder-decoder":
            return Request.about(model, tokenizer, tuple(tokenizer.encode(prompt)), settings)
    return Request.masked(tokenizer, prompt, settings)


def ask_all(
    model: LanguageModel,
    tokenizer: Tokenizer,
    prompts: Sequence[str],
    settings: SamplingSettings,
    strategy: StrategySettings,
) -> list[Request]:
    """A request for each prompt; one that is repeated counts up from the seed, so that its texts differ."""
    before: Counter[str] = Counter()
    requests = []
    for prompt in prompts:
        seed = None if settings.seed is None else settings.seed + before[prompt]
        before[prompt] += 1
        request = ask(model, tokenizer, prompt, replace(settings, seed=seed))
        requests.append(replace(request, strategy=strategy))
    return requests


def start_id(model: LanguageModel, tokenizer: Tokenizer) -> int:
    """The token with which an encoder-decoder begins to write: what its config.json says, or the padding token."""
    number = model.config.get("decoder_start_token_id", tokenizer.pad_id)
    if number is None:
        raise SettingsError(
            "config.json has no decoder_start_token_id, and the tokenizer no padding token to begin with"
        )
    return int(number)


@dataclass
class Generation:
    """A finished continuation.

    ids: the new tokens without the one that ended the text. logprobs: log p of each under the model itself (before
    temperature, top-k and top-p), nats. reason: "eos" (an end token), "stop" (a stop text, or what a constraint asks
    for is complete) or "length". complete: whether the text satisfies its constraint, None without one. seed: gives the
    same text again. seconds_to_first: from the call to the first token. tokens_per_second: of the tokens after it;
    where a text comes at once at the end, of all tokens in that time.

    top_logprobs: for each token the likeliest ones in its place, (id, log p), best first, as many as were asked for.
    best: where a strategy follows several texts, as many of them as were asked for with their scores, the best first;
    the first is this one.
    """

    prompt_ids: tuple[int, ...]
    seed: int
    ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    text: str = ""
    reason: str = "length"
    seconds_to_first: float = 0.0
    tokens_per_second: float = 0.0
    top_logprobs: list[Top] = field(default_factory=list)
    best: tuple[Hypothesis, ...] = ()
    complete: bool | None = None
