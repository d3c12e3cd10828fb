"""At the door: keys, hosts, origins, sizes."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from nextword.core.errors import SettingsError
from nextword.recipes.serve_settings import ServeSettings


@pytest.fixture(scope="module")
def closed(talking: Path, serve: Any) -> Any:
    with serve(talking, api_key="secret", origins=("https://friend.example",)) as found:
        yield found


def test_only_who_has_the_key(closed: Any) -> None:
    url = f"{closed.url}/v1/models"
    for key in ("", "Bearer", "Bearer wrong", "secret", "Bearer secret "[:-2]):
        answer = httpx.get(url, headers={"Authorization": key})
        assert (answer.status_code, answer.json()["error"]["type"]) == (401, "authentication_error")
    assert httpx.get(url, headers={"Authorization": "Bearer secret"}).status_code == 200
    assert httpx.get(f"{closed.url}/health").status_code == 200


def test_a_name_that_only_points_here_is_not_answered(server: Any) -> None:
    answer = httpx.get(f"{server.url}/health", headers={"Host": "evil.example"})
    assert answer.status_code == 421
    assert "evil.example" in answer.json()["error"]["message"]
    assert httpx.get(f"{server.url}/health", headers={"Host": f"localhost:{server.port}"}).status_code == 200


def test_pages_of_others_are_refused_and_named_ones_are_not(closed: Any) -> None:
    key = {"Authorization": "Bearer secret"}
    url = f"{closed.url}/v1/models"
    for origin in ("https://evil.example", "null"):
        assert httpx.get(url, headers={**key, "Origin": origin}).status_code == 403
    friend = httpx.get(url, headers={**key, "Origin": "https://friend.example"})
    assert friend.headers["access-control-allow-origin"] == "https://friend.example"
    preflight = {"Origin": "https://friend.example", "Access-Control-Request-Method": "POST"}
    assert httpx.options(url, headers=preflight).status_code == 200
    own = httpx.get(url, headers={**key, "Origin": closed.url})
    assert own.status_code == 200
    assert "access-control-allow-origin" not in own.headers


def test_large_bodies(talking: Path, serve: Any) -> None:
    from nextword.serve.settings import LimitSettings

    with serve(talking, limits=LimitSettings(body_bytes=1000)) as server:
        url, header = f"{server.url}/v1/completions", {"content-type": "application/json"}
        said = httpx.post(url, json={"prompt": "x" * 1000})
        unsaid = httpx.post(url, content=(b"x" * 100 for _ in range(20)), headers=header)
        assert [said.status_code, unsaid.status_code] == [413, 413]
        assert httpx.post(url, json={"prompt": "Once", "max_tokens": 1}).status_code == 200


@pytest.mark.parametrize("key", ["", "schlüssel", "a\nb"])
def test_keys_that_cannot_be_sent(key: str) -> None:
    with pytest.raises(SettingsError, match="api_key must be at least one printable ASCII character"):
        ServeSettings("model", api_key=key)


def test_keys_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEXTWORD_API_KEY", "hidden")
    assert ServeSettings("model").access.api_key == "hidden"
    assert ServeSettings("model", api_key="said").access.api_key == "said"
