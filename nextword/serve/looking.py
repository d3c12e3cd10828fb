"""A text as the lab reads it: of bounded length, with what its model's texts begin and end with.

decoder            begin, text
encoder            whatever its tokenizer frames a text with ([CLS] text [SEP])
encoder-decoder    the source is the text and its end; what is written so far begins with the model's start token
"""

from typing import Any, NamedTuple

from nextword.core.errors import SettingsError
from nextword.decode.settings import SamplingSettings
from nextword.decode.strategy_settings import StrategySettings
from nextword.engine.request import Request, start_id
from nextword.serve.bodies import Strict
from nextword.serve.errors import Refusal
from nextword.serve.service import Served
from nextword.tokenizers.base import Tokenizer

CHARACTERS_A_TOKEN = 32  # a text with more than so many for each token allowed is refused before it is encoded


class LookedAt(Strict):
    """What every panel is given: a text, and for an encoder-decoder what it has written so far."""

    text: str
    written: str = ""


class Reading(NamedTuple):
    """The ids that the model reads, and the source of an encoder-decoder."""

    ids: list[int]
    source: list[int] | None = None


def read(served: Served, body: LookedAt, most: int) -> Reading:
    """The ids of a text; Refusal for more than `most` tokens or for a text that does not fit this kind of model."""
    tokenizer, model = served.tokenizer, served.model
    for text, name in ((body.text, "text"), (body.written, "written")):
        check_size(text, name, most)
    if body.written and model.kind != "encoder-decoder":
        raise Refusal(400, "only an encoder-decoder writes beside what it reads: leave this out", param="written")
    ids = tokenizer.encode(body.text)
    if model.kind == "encoder":
        found = Reading(tokenizer.framed_spans(body.text)[0])
    elif model.kind == "decoder":
        found = Reading(ids if tokenizer.bos_id is None else [tokenizer.bos_id, *ids])
    else:
        ends = [] if tokenizer.eos_id is None else [tokenizer.eos_id]
        found = Reading([start_id(model, tokenizer), *tokenizer.encode(body.written)], ids + ends)
    check_length(served, found, most)
    return found


def continuation(served: Served, reading: Reading, tokens: int, strategy: StrategySettings, **sampling: Any) -> Request:
    """A request for so many tokens after a text, or as many as the model has room for."""
    limit, end = served.model.max_length, served.tokenizer.eos_id
    room = tokens if limit is None else max(1, min(tokens, limit - len(reading.ids)))
    return Request(
        tuple(reading.ids),
        SamplingSettings(**{"max_tokens": room, "temperature": 0.0} | sampling),
        frozenset() if end is None else frozenset({end}),
        served.tokenizer,
        None if reading.source is None else tuple(reading.source),
        strategy,
    )


def check_size(text: str, name: str, most: int) -> None:
    """Refusal for a text that is too long to be encoded only to be refused."""
    if len(text) > CHARACTERS_A_TOKEN * most:
        raise Refusal(400, f"the text has {len(text)} characters: give at most {most} tokens", param=name)


def check_length(served: Served, found: Reading, most: int) -> None:
    """Refusal for a reading without tokens, or with more than may be looked at."""
    check_count(
        max(len(found.ids), len(found.source or ())),
        most if served.model.max_length is None else min(most, served.model.max_length),
    )
    if not found.ids:
        raise SettingsError("there is nothing to look at: the text has no tokens")


def check_count(count: int, most: int) -> None:
    """Refusal for more tokens than may be looked at."""
    if count > most:
        raise Refusal(400, f"the text has {count} tokens, this panel looks at up to {most}: shorten it", param="text")


def shown(tokenizer: Tokenizer, number: int) -> str:
    """A token as text: its letters, its bytes (⟨E2 82⟩) where they are no whole character, the name of a control."""
    spelled = tokenizer.token_bytes(number)
    try:
        return spelled.decode()
    except UnicodeDecodeError:
        return f"⟨{spelled.hex(' ').upper()}⟩"
