"""What must not be served: the right status, a message that says what to change, and the server stays up."""

import socket
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

JSON = {"content-type": "application/json"}


def post(server: Any, path: str, **body: Any) -> httpx.Response:
    return httpx.post(f"{server.url}/v1/{path}", json=body, timeout=30)


@pytest.fixture(autouse=True)
def still_up(server: Any) -> Iterator[None]:
    yield
    end = time.monotonic() + 20  # a hundred times what cancelling takes where nobody else computes
    health = lambda: httpx.get(f"{server.url}/health").json()  # noqa: E731
    while (found := health()) != {"status": "ok", "open": 0}:  # some that were sent may still arrive
        assert time.monotonic() < end, found
        time.sleep(0.01)
    assert post(server, "completions", prompt="Once", max_tokens=2).status_code == 200


CASES: dict[str, tuple[str, dict[str, Any], int, str]] = {
    "a prompt longer than the context": ("completions", {"prompt": "cat " * 200}, 400, "the model reads at most 64"),
    "more tokens than there is room": ("completions", {"prompt": "a", "max_tokens": 64}, 400, "exceed the model's"),
    "more tokens than are given": ("completions", {"prompt": "a", "max_tokens": 10**6}, 400, "at most 4096"),
    "no prompts": ("completions", {"prompt": []}, 400, "empty list"),
    "no tokens": ("completions", {"prompt": [[]]}, 400, "prompt is empty"),
    "an unknown token": ("completions", {"prompt": [5, 10**9]}, 400, "not in the model's vocabulary"),
    "a negative token": ("completions", {"prompt": [-1]}, 400, "not in the model's vocabulary"),
    "an unknown model": ("completions", {"prompt": "a", "model": "gpt-4"}, 404, "no model 'gpt-4' here"),
    "a negative temperature": (
        "completions",
        {"prompt": "a", "temperature": -1},
        400,
        "temperature must be at least 0",
    ),
    "too many answers": ("completions", {"prompt": "a", "n": 10**6}, 400, "n is 1000000"),
    "no answers": ("completions", {"prompt": "a", "n": 0}, 400, "n is 0"),
    "too many prompts": ("completions", {"prompt": ["a"] * 1000}, 400, "1000 prompt"),
    "an empty stop": ("completions", {"prompt": "a", "stop": ""}, 400, "stop text must not be empty"),
    "many stops": ("completions", {"prompt": "a", "stop": ["x"] * 99}, 400, "stop has at most"),
    "a huge seed": ("completions", {"prompt": "a", "seed": 10**30}, 400, "seed must be between"),
    "an unknown field": ("completions", {"prompt": "a", "beams": 3}, 400, "unknown field 'beams'"),
    "a wrong type": ("completions", {"prompt": "a", "max_tokens": "5"}, 400, "max_tokens: Input should be"),
    "a missing field": ("completions", {}, 400, "prompt: Field required"),
    "an unserved field": ("completions", {"prompt": "a", "suffix": "b"}, 400, "suffix is not supported"),
    "no messages": ("chat/completions", {"messages": []}, 400, "no messages"),
    "an unknown role": ("chat/completions", {"messages": [{"role": "cat", "content": ""}]}, 400, "messages.0.role"),
    "a picture": (
        "chat/completions",
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
        400,
        "part of type 'image_url'",
    ),
    "an unknown path": ("no/such/path", {}, 404, "Not Found: POST /v1/no/such/path"),
}


@pytest.mark.parametrize("case", CASES)
def test_refused(server: Any, case: str) -> None:
    path, body, status, message = CASES[case]
    answer = post(server, path, **body)
    assert (answer.status_code, message in answer.json()["error"]["message"]) == (status, True), answer.text
    streamed = post(server, path, **body, stream=True)
    assert streamed.status_code == status


@pytest.mark.parametrize("path", ["completions", "embeddings"])
def test_half_a_surrogate_pair(server: Any, path: str) -> None:
    body = '{"prompt": "a\\ud800"}' if path == "completions" else '{"input": "a\\ud800"}'
    answer = httpx.post(f"{server.url}/v1/{path}", content=body, headers=JSON)
    assert (answer.status_code, "not valid Unicode" in answer.json()["error"]["message"]) == (400, True)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_numbers_that_json_does_not_have(server: Any, number: str) -> None:
    body = f'{{"prompt": "a", "temperature": {number}, "max_tokens": 2}}'
    answer = httpx.post(f"{server.url}/v1/completions", content=body, headers=JSON)
    assert answer.status_code == 400
    assert "temperature" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    "body",
    [b'{"prompt": "\xff\xfe"}', b"[" * 100_000, b'{"a":' * 100_000, b"", b"null", b"[]", b'"text"', b"{", b"\x00"],
    ids=["utf8", "deep list", "deep object", "nothing", "null", "list", "text", "open", "zero"],
)
def test_bodies_that_are_no_requests(server: Any, body: bytes) -> None:
    answer = httpx.post(f"{server.url}/v1/completions", content=body, headers=JSON)
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["type"] == "invalid_request_error"


def test_a_deep_value_in_a_known_field(server: Any) -> None:
    deep = "[" * 5_000 + "]" * 5_000
    body = f'{{"messages": [{{"role": "user", "content": "x"}}], "tools": {deep}}}'
    assert httpx.post(f"{server.url}/v1/chat/completions", content=body, headers=JSON).status_code == 400


def test_other_methods(server: Any) -> None:
    answer = httpx.get(f"{server.url}/v1/completions")
    assert (answer.status_code, answer.json()["error"]["code"]) == (405, None)


def test_half_closed_connections(server: Any) -> None:
    with server.connect(b'{"prompt": "a", "max_tokens": 50, "stream": true}') as connection:
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(4096):
            pass


def test_readers_who_leave(server: Any) -> None:
    for _ in range(20):
        server.connect(b'{"prompt": "a", "max_tokens": 60, "stream": true, "n": 8}').close()


def test_bodies_that_never_end(server: Any) -> None:
    server.connect(b"{", length=100).close()
