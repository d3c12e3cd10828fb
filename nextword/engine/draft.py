"""The small model of speculative decoding: it must mean the same by a token as the large one.

Beside that it may be of any kind. What a token costs it is the ratio of the numbers that it is multiplied with, but at
least LEAST: a step of the smallest model still takes the calls that a step consists of.
"""

from collections.abc import Sequence

from nextword.core.errors import SettingsError
from nextword.decode.strategy import Tools
from nextword.engine.reader import Reader
from nextword.engine.request import Request
from nextword.engine.step import Compiled, stepper
from nextword.models.family import Storable
from nextword.tokenizers.base import Tokenizer

LEAST = 0.05
SPECULATIVE = "speculative"  # the strategy that asks a draft


def check_asked(requests: Sequence[Request]) -> None:
    """SettingsError where there is a draft and no request that goes by it."""
    if not any(request.strategy.strategy == SPECULATIVE for request in requests):
        raise SettingsError(f"a draft has no effect without strategy {SPECULATIVE}: leave it out, or choose that")


def check_draft(model: Storable, draft: Storable) -> None:
    """SettingsError unless the draft scores the same vocabulary and reads the same kind of input."""
    if draft.vocab_size != model.vocab_size:
        raise SettingsError(
            f"the draft has a vocabulary of {draft.vocab_size}, the model one of {model.vocab_size}: a draft must "
            "share the vocabulary (train it on the same tokens)"
        )
    if draft.kind != model.kind:
        raise SettingsError(f"the draft is an {draft.kind}, the model an {model.kind}: they must read the same")


def check_vocabulary(tokenizer: Tokenizer, draft: Tokenizer) -> None:
    """SettingsError where an id does not stand for the same token in both."""
    for number in range(min(tokenizer.vocab_size, draft.vocab_size)):
        if tokenizer.token(number) != draft.token(number):
            raise SettingsError(
                f"token {number} is {tokenizer.token(number)!r} to the model and {draft.token(number)!r} to the draft: "
                "a draft must share the vocabulary (train it with the same tokenizer)"
            )


def with_draft(tools: Tools, model: Storable, draft: Storable, tokens: int, compiled: Compiled = "auto") -> Tools:
    """The tools with a draft for a model that is to generate about so many tokens."""
    check_draft(model, draft)
    cost = max(LEAST, draft.costs().matrices / max(1, model.costs().matrices))
    steps = stepper(draft, tokens, "auto" if compiled == "always" else compiled)
    return Tools(Reader(steps, room=draft.max_length), cost, tools.score, tools.trace)
