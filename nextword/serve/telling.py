"""From the steps of the engine to the objects that clients know: choices, log-probabilities, usage."""

import secrets
import time
from collections.abc import Sequence
from typing import Any

from nextword.decode.row import Step
from nextword.engine.request import Request
from nextword.tokenizers.base import Tokenizer

Object = dict[str, Any]
REASONS = {"eos": "stop", "stop": "stop", "length": "length"}
ID_BYTES = 12


def identity(prefix: str) -> str:
    """A name for one answer."""
    return f"{prefix}-{secrets.token_hex(ID_BYTES)}"


def head(prefix: str, kind: str, model: str) -> Object:
    """What every object of one answer begins with."""
    return {"id": identity(prefix), "object": kind, "created": int(time.time()), "model": model}


class Usage:
    """Counts tokens: a prompt that several answers share counts once, a token that ends a text counts."""

    def __init__(self, prompts: Sequence[Request]) -> None:
        self.prompt = sum(len(request.ids) + len(request.source or ()) for request in prompts)
        self.new = 0

    def told(self) -> Object:
        """As clients know it."""
        return {"prompt_tokens": self.prompt, "completion_tokens": self.new, "total_tokens": self.prompt + self.new}


def token_of(tokenizer: Tokenizer, number: int, logprob: float) -> Object:
    """A token with its log-probability; its bytes, since a token may be half a character."""
    spelled = tokenizer.token_bytes(number)
    return {"token": spelled.decode("utf-8", "replace"), "logprob": finite(logprob), "bytes": list(spelled)}


def finite(logprob: float) -> float:
    """JSON has no infinity: what cannot be is told as OpenAI does, -9999."""
    return max(logprob, -9999.0)


def chat_logprobs(tokenizer: Tokenizer, steps: Sequence[Step]) -> Object:
    """The log-probabilities of a conversation's new tokens."""
    return {
        "content": [
            {
                **token_of(tokenizer, step.token, step.logprob),
                "top_logprobs": [token_of(tokenizer, number, logprob) for number, logprob in step.top],
            }
            for step in steps
        ]
    }


def text_logprobs(tokenizer: Tokenizer, steps: Sequence[Step], offset: int) -> Object:
    """The log-probabilities of a text's new tokens; offset: how many characters stand before them."""
    names = [tokenizer.token_bytes(step.token).decode("utf-8", "replace") for step in steps]
    offsets = []
    for name in names:
        offsets.append(offset)
        offset += len(name)
    return {
        "tokens": names,
        "token_logprobs": [finite(step.logprob) for step in steps],
        "top_logprobs": [spelled(tokenizer, step) for step in steps] if any(step.top for step in steps) else None,
        "text_offset": offsets,
    }


def spelled(tokenizer: Tokenizer, step: Step) -> dict[str, float]:
    """The likeliest tokens in a place by their texts; of several with one text the likeliest."""
    texts = [(tokenizer.token_bytes(number).decode("utf-8", "replace"), finite(logp)) for number, logp in step.top]
    return dict(reversed(texts))
