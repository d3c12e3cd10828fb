"""OpenAI's own client against the server: what it sends is understood, what it reads is what `generate` gives."""

import json
from pathlib import Path
from typing import Any

import openai
import pytest
import torch

import nextword as nw
from nextword.engine.generate import generate
from nextword.engine.request import Request


@pytest.fixture
def client(server: Any) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0)


@pytest.fixture(scope="module")
def lm(talking: Path) -> Any:
    return nw.load(talking)


def test_models(client: openai.OpenAI) -> None:
    [model] = client.models.list().data
    assert (model.id, client.models.retrieve("talking").id) == ("talking", "talking")
    with pytest.raises(openai.NotFoundError, match="no model 'gpt-4' here, only 'talking'"):
        client.models.retrieve("gpt-4")


def test_a_completion_is_what_generate_gives(client: openai.OpenAI, lm: Any) -> None:
    found = client.completions.create(model="talking", prompt="The cat", max_tokens=8, temperature=0, logprobs=2)
    [wanted] = lm.continuations(["The cat"], lm_settings(max_tokens=8, temperature=0))
    [choice] = found.choices
    assert (choice.text, choice.finish_reason) == (wanted.text, "length")
    assert choice.logprobs.token_logprobs == pytest.approx(wanted.logprobs, abs=1e-4)
    assert all(
        max(top.values()) == pytest.approx(logprob, abs=1e-4)
        for top, logprob in zip(choice.logprobs.top_logprobs, wanted.logprobs, strict=True)
    )  # greedy takes the likeliest
    assert (found.usage.prompt_tokens, found.usage.completion_tokens) == (len(wanted.prompt_ids), 8)


def lm_settings(**settings: Any) -> Any:
    from nextword.decode.settings import SamplingSettings

    return SamplingSettings(**settings)


def test_a_stream_is_the_whole_in_pieces(client: openai.OpenAI) -> None:
    asked: dict[str, Any] = {"model": "talking", "prompt": "A dog", "max_tokens": 12, "seed": 5, "n": 2}
    whole = client.completions.create(**asked)
    texts, usage = ["", ""], None
    for chunk in client.completions.create(**asked, stream=True, stream_options={"include_usage": True}):
        for choice in chunk.choices:
            texts[choice.index] += choice.text
        usage = chunk.usage or usage
    assert texts == [choice.text for choice in whole.choices]
    assert texts[0] != texts[1]
    assert usage == whole.usage


def test_a_conversation(client: openai.OpenAI, lm: Any) -> None:
    messages: Any = [
        {"role": "system", "content": "Be short."},
        {"role": "user", "content": [{"type": "text", "text": "A cat?"}]},
    ]
    asked: dict[str, Any] = {"model": "talking", "messages": messages, "max_completion_tokens": 6, "seed": 3}
    whole = client.chat.completions.create(**asked, logprobs=True, top_logprobs=3)
    ids = tuple(lm.tokenizer.encode("system: Be short.\nuser: A cat?\nassistant:"))
    ends = frozenset({lm.tokenizer.eos_id})
    [alone] = generate(lm.model, [Request(ids, lm_settings(max_tokens=6, seed=3), ends, lm.tokenizer)])
    wanted = alone.text
    assert whole.choices[0].message.content == wanted
    told = whole.choices[0].logprobs.content
    assert len(told) == 6
    for token in told:
        tops = [top.logprob for top in token.top_logprobs]
        assert len(tops) == 3 and tops == sorted(tops, reverse=True)
        assert token.logprob in tops or token.logprob < tops[-1]
    pieces = [chunk.choices[0].delta.content for chunk in client.chat.completions.create(**asked, stream=True)]
    assert "".join(piece for piece in pieces if piece) == wanted


def test_a_model_without_a_template_does_not_converse(serve: Any, tiny: Any) -> None:
    with serve(tiny("llama")) as server:
        client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0)
        with pytest.raises(openai.BadRequestError, match="no conversation template .* use /v1/completions"):
            client.chat.completions.create(model="llama", messages=[{"role": "user", "content": "x"}])


def test_embeddings(client: openai.OpenAI, lm: Any) -> None:
    texts = ["A cat", "The dog sat too."] * 20
    wanted = lm.embed(texts)
    for form in (openai.NOT_GIVEN, "float"):  # the client asks for base64 where nothing is said
        found = client.embeddings.create(model="talking", input=texts, encoding_format=form)  # type: ignore[arg-type]
        assert torch.allclose(torch.tensor([item.embedding for item in found.data]), wanted, atol=1e-5)
    with pytest.raises(openai.BadRequestError, match="an empty text has no embedding"):
        client.embeddings.create(model="talking", input=[""])


def test_metrics(client: openai.OpenAI, server: Any) -> None:
    import httpx

    def figures() -> dict[str, float]:
        text = httpx.get(f"{server.url}/metrics").text
        return {line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line[0] != "#"}

    before = figures()
    client.completions.create(model="talking", prompt="A", max_tokens=7, n=2)
    after = figures()
    grown = {name: after[name] - before.get(name, 0) for name in after}
    assert grown["nextword_generated_tokens_total"] == 14
    assert grown["nextword_first_token_seconds_count"] == 2
    assert grown["nextword_next_token_seconds_count"] == 12
    assert grown['nextword_requests_total{path="/v1/completions",status="200"}'] == 1
    assert after["nextword_running"] == after["nextword_waiting"] == 0


def test_settings_reach_the_sampler(client: openai.OpenAI) -> None:
    asked: dict[str, Any] = {"model": "talking", "prompt": "A cat", "max_tokens": 12, "temperature": 0, "logprobs": 0}

    def tokens(**more: Any) -> list[str]:
        return client.completions.create(**asked, **more).choices[0].logprobs.tokens

    plain = tokens()
    assert tokens(logit_bias={"65": 100}) == tokens(logit_bias={"65": 100.0}) != plain
    assert len(set(tokens(logit_bias={"65": 100}))) == 1
    assert tokens(presence_penalty=2, frequency_penalty=2) != plain
    assert tokens(extra_body={"repetition_penalty": 1.5}) != plain
    for wrong, message in (
        ({"logit_bias": {"x": 1}}, "no token id"),
        ({"logit_bias": {"99999": 1}}, "no token 99999"),
        ({"logit_bias": {"5": 101}}, "between -100 and 100"),
        ({"presence_penalty": 3}, "presence_penalty must be between"),
    ):
        with pytest.raises(openai.BadRequestError, match=message):
            tokens(**wrong)


SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 3}, "age": {"type": "integer", "minimum": 0, "maximum": 99}},
    "required": ["name", "age"],
    "additionalProperties": False,
}


def formed(schema: object) -> Any:
    return {"type": "json_schema", "json_schema": {"name": "person", "schema": schema}}


@pytest.mark.parametrize("streamed", [False, True])
def test_an_answer_has_the_form_that_is_asked_for(client: openai.OpenAI, streamed: bool) -> None:
    asked: dict[str, Any] = {"model": "talking", "messages": [{"role": "user", "content": "Who?"}], "seed": 1}
    asked |= {"max_tokens": 44, "response_format": formed(SCHEMA)}
    if streamed:
        chunks = list(client.chat.completions.create(**asked, stream=True))
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    else:
        text = client.chat.completions.create(**asked).choices[0].message.content or ""
    person = json.loads(text)
    assert set(person) == {"name", "age"} and len(person["name"]) <= 3 and 0 <= person["age"] <= 99


def test_a_form_that_nothing_can_have(client: openai.OpenAI) -> None:
    asked: dict[str, Any] = {"model": "talking", "messages": [{"role": "user", "content": "Who?"}], "max_tokens": 5}
    for impossible in ({"type": "integer", "minimum": 3, "maximum": 2}, {"type": "nothing"}):
        with pytest.raises(openai.BadRequestError, match="json_schema"):
            client.chat.completions.create(**asked, response_format=formed(impossible))
    assert client.chat.completions.create(**asked).choices[0].finish_reason == "length", "it goes on"
