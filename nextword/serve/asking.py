"""From what a client sent to requests of the engine; what cannot be done is refused here, before anything runs."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from nextword.core.errors import SettingsError
from nextword.decode.settings import SamplingSettings
from nextword.engine.request import Request, ask
from nextword.engine.step import check_ids
from nextword.serve.bodies import Asked, CompletionBody
from nextword.serve.errors import Refusal
from nextword.serve.service import Served, Service
from nextword.serve.settings import LimitSettings

Object = dict[str, Any]
MOST_STOPS = 16  # stop texts: each is looked for at every token
LONGEST_STOP = 1000  # characters
MOST_BIASES = 300
# fields that are settings of sampling by the same name
PASSED = (
    "temperature", "top_p", "top_k", "min_p", "typical_p", "min_tokens", "seed", "presence_penalty",
    "frequency_penalty", "repetition_penalty",
)  # fmt: skip


def check_model(served: Served, name: str | None) -> None:
    """Refusal 404 unless the name is that of the model that is served."""
    if name is not None and name != served.name:
        raise Refusal(404, f"no model {name!r} here, only {served.name!r}", param="model", code="model_not_found")


def sampling(
    body: Asked, limits: LimitSettings, max_tokens: int | None, top: int, schema: Object | None = None
) -> SamplingSettings:
    """The settings of one answer, with `top` alternatives for each token, as JSON of that schema if there is one.

    SettingsError or Refusal where they cannot take effect.
    """
    if max_tokens is not None and max_tokens > limits.tokens:
        raise Refusal(400, f"max_tokens is {max_tokens}, this server gives at most {limits.tokens}", param="max_tokens")
    stop = (body.stop,) if isinstance(body.stop, str) else tuple(body.stop or ())
    if len(stop) > MOST_STOPS or any(len(text) > LONGEST_STOP for text in stop):
        raise Refusal(400, f"stop has at most {MOST_STOPS} texts of {LONGEST_STOP} characters", param="stop")
    given = {name: value for name in PASSED if (value := getattr(body, name)) is not None}
    if body.logit_bias:
        given["logit_bias"] = biases(body.logit_bias)
    if schema is not None:
        given["json_schema"] = json.dumps(schema)
    return SamplingSettings(max_tokens=max_tokens, stop=stop, top_logprobs=top, **given)


def schema_asked(form: Object | None) -> Object | None:
    """The JSON schema that an answer must have, None for any text; Refusal for a form that is none."""
    match form:
        case None | {"type": "text"}:
            return None
        case {"type": "json_object"}:
            return {"type": "object"}
        case {"type": "json_schema", "json_schema": {"schema": dict(schema)}}:
            return schema
    raise Refusal(
        400,
        'response_format is {"type": "text"}, {"type": "json_object"} or '
        '{"type": "json_schema", "json_schema": {"name": ..., "schema": {...}}}',
        param="response_format",
    )


def biases(given: Mapping[str, float]) -> dict[int, float]:
    """Biases by token id, which JSON has as texts; Refusal for a text that is no number."""
    if wrong := [name for name in given if not name.isascii() or not name.isdigit()]:
        raise Refusal(400, f"logit_bias: {wrong[0]!r} is no token id", param="logit_bias")
    if len(given) > MOST_BIASES:
        raise Refusal(400, f"logit_bias has {len(given)} tokens, the most is {MOST_BIASES}", param="logit_bias")
    return {int(name): bias for name, bias in given.items()}


def alternatives(name: str, wanted: int | None, most: int) -> int:
    """How many alternatives of each token are told; Refusal for more than clients may ask for."""
    if wanted is not None and not 0 <= wanted <= most:
        raise Refusal(400, f"{name} is {wanted}: at most {most} alternatives of a token are told", param=name)
    return wanted or 0


def choices(body: Asked, prompts: int, limits: LimitSettings) -> int:
    """How many answers each prompt gets; Refusal for none, or more than are allowed."""
    count = 1 if body.n is None else body.n
    if count < 1 or count * prompts > limits.choices:
        raise Refusal(
            400, f"n is {count} for {prompts} prompt(s): this server gives 1 to {limits.choices} answers", param="n"
        )
    return count


def copies(request: Request, count: int) -> list[Request]:
    """A request as often as it is to be answered, each with a seed of its own, counted up from the first."""
    seed = request.seed()
    return [replace(request, settings=replace(request.settings, seed=seed + number)) for number in range(count)]


def fitting(service: Service, request: Request) -> Request:
    """The request with the tokens that the model and the server allow; SettingsError where there is no room."""
    served = service.served
    check_ids([ids for ids in (request.ids, request.source) if ids is not None], served.model.vocab_size)
    room = min(request.limit(served.model.max_length), service.limits.tokens)
    return replace(request, settings=replace(request.settings, max_tokens=room))


def prompts_of(served: Served, body: CompletionBody, settings: SamplingSettings) -> list[Request]:
    """The requests of a completion: texts, or ids."""
    given: Sequence[str | list[int]]
    prompt = body.prompt
    single = isinstance(prompt, str) or (prompt and isinstance(prompt[0], int))
    given = [prompt] if single else prompt  # type: ignore[assignment, list-item]
    if not given:
        raise Refusal(400, "prompt is an empty list: give at least one text", param="prompt")
    return [of_prompt(served, one, settings) for one in given]


def of_prompt(served: Served, prompt: str | list[int], settings: SamplingSettings) -> Request:
    """A request about one prompt."""
    if isinstance(prompt, str):
        return ask(served.model, served.tokenizer, prompt, settings)
    if served.model.kind != "decoder":
        raise SettingsError(f"an {served.model.kind} takes its prompt as text, not as tokens")
    end = served.tokenizer.eos_id
    return Request(tuple(prompt), settings, frozenset() if end is None else frozenset({end}), served.tokenizer)
