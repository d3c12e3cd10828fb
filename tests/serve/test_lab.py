"""The lab's answers are what the library itself computes, bounded, and errors in the server's shape."""

import math
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import Any

import pytest
import torch
from fastapi.testclient import TestClient

import nextword as nw
from nextword.engine.request import start_id
from nextword.engine.step import PlainSteps
from nextword.probe.attention import attention_maps
from nextword.probe.lens import lens
from nextword.recipes.serve import make_service
from nextword.recipes.serve_settings import ServeSettings
from nextword.serve.lab import next as next_token
from nextword.serve.routes import lab, page
from nextword.serve.server import create_app

TEXT = "The cat sat on the mat."
ROOT = Path(__file__).parents[2]


@contextmanager
def opened(folder: Path, **more: Any) -> Iterator[tuple[Any, TestClient]]:
    settings = ServeSettings(str(folder), name="tiny", **more)
    with TestClient(create_app(make_service(settings), settings.access), base_url="http://127.0.0.1") as client:
        yield nw.load(folder), client


@pytest.fixture(scope="module")
def llama(tiny: Callable[[str], Path]) -> Iterator[tuple[Any, TestClient]]:
    with opened(tiny("llama")) as found:
        yield found


def asked(client: TestClient, panel: str, **body: Any) -> Any:
    answer = client.post(f"/lab/{panel}", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def refused(client: TestClient, panel: str, **body: Any) -> str:
    answer = client.post(f"/lab/{panel}", json=body)
    assert answer.status_code == 400, answer.text
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
    return str(answer.json()["error"]["message"])


def test_about(llama: Any) -> None:
    about = llama[1].get("/lab/about").json()
    assert about == {
        **{"name": "tiny", "family": "llama", "kind": "decoder", "chat": False},
        **{"vocab_size": llama[0].model.vocab_size, "max_length": 64, "layers": 2},
    }


def test_tokens(llama: Any) -> None:
    lm, client = llama
    text = "A cat ☕."
    found = asked(client, "tokens", text=text)
    assert [token["id"] for token in found["tokens"]] == lm.tokenizer.encode(text)
    spelled = [text.encode()[token["first_byte"] : token["last_byte"]] for token in found["tokens"]]
    assert b"".join(spelled) == text.encode() and found["bytes"] == len(text.encode())
    for token, letters in zip(found["tokens"], spelled, strict=True):
        assert token["shown"] in {letters.decode(errors="replace"), f"⟨{letters.hex(' ').upper()}⟩"}
    assert "20000" in refused(client, "tokens", text="a" * 20_001)


def test_the_next_token_of_a_small_vocabulary_is_sent_whole(llama: Any) -> None:
    lm, client = llama
    found = asked(client, "next", text="The cat", taken=[5])
    ids = [lm.tokenizer.bos_id, *lm.tokenizer.encode("The cat"), 5]
    logp_V = PlainSteps(lm.model).prefill([ids], len(ids))[0][0].log_softmax(-1)
    assert len(found["tokens"]) == lm.model.vocab_size and not found["rest"]
    for token in found["tokens"]:
        assert token["logprob"] == pytest.approx(float(logp_V[token["id"]]), abs=1e-5)
    ordered = [token["logprob"] for token in found["tokens"]]
    assert ordered == sorted(ordered, reverse=True)
    assert "vocabulary" in refused(client, "next", text="a", taken=[10_000])
    assert "64" in refused(client, "next", text="a", taken=[5] * 64)


def test_the_rest_of_a_large_vocabulary_comes_by_range(llama: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = asked(llama[1], "next", text="The cat")["tokens"]
    for name, value in (("WHOLE", 100), ("LIKELIEST", 40), ("RANGES", 50)):
        monkeypatch.setattr(next_token, name, value)
    part = asked(llama[1], "next", text="The cat")
    assert part["tokens"] == whole[:40]
    others = [token["logprob"] for token in whole[40:]]
    assert sum(group["count"] for group in part["rest"]) == len(others)
    width = (others[0] - others[-1]) / 50
    for temperature in (0.5, 1.0, 2.0):
        wanted = math.fsum(math.exp(logprob / temperature) for logprob in others)
        found = math.fsum(group["count"] * math.exp(group["logprob"] / temperature) for group in part["rest"])
        bound = 1.1 * width**2 / 8 * abs(1 / temperature**2 - 1 / temperature)  # a tenth for higher orders
        assert found == pytest.approx(wanted, rel=bound + 1e-9)


def test_attention(llama: Any) -> None:
    lm, client = llama
    found = asked(client, "attention", text=TEXT, layer=1)
    ids = [lm.tokenizer.bos_id, *lm.tokenizer.encode(TEXT)]
    wanted_HTT = attention_maps(lm.model, ids).own_LHTT[1]
    assert (torch.tensor(found["weights"]) - wanted_HTT).abs().max() <= 0.5e-5 + 1e-7
    assert len(found["queries"]) == len(found["keys"]) == len(ids) and found["layers"] == 2
    assert "0 to 1" in refused(client, "attention", text=TEXT, layer=2)
    assert "encoder-decoder" in refused(client, "attention", text=TEXT, map="cross")
    assert "up to 64" in refused(client, "attention", text="cat " * 100)
    assert "encoder-decoder" in refused(client, "attention", text=TEXT, written="b")


def test_lens(llama: Any) -> None:
    lm, client = llama
    found = asked(client, "lens", text=TEXT)
    ids = [lm.tokenizer.bos_id, *lm.tokenizer.encode(TEXT)]
    layers = list(lens(lm.model, ids))
    assert len(found["rows"]) == len(layers) == 3
    for row, logits_TV in zip(found["rows"], layers, strict=True):
        p_TV = logits_TV.double().softmax(-1)
        for place, cell in enumerate(row):
            best = cell["top"][0]
            assert best["p"] == pytest.approx(float(p_TV[place].max())) and best["id"] == int(p_TV[place].argmax())
            assert cell["nats"] == pytest.approx(float(-(p_TV[place] * p_TV[place].log()).sum()))
            said = int(layers[-1][place].argmax())
            assert cell["said"] == int((p_TV[place] > p_TV[place, said]).sum())
    assert all(cell["said"] == 0 for cell in found["rows"][-1])


def test_losses(llama: Any) -> None:
    lm, client = llama
    found = asked(client, "losses", text=TEXT)
    wanted = [token.logprob for token in lm.score(TEXT)]
    assert [token["logprob"] for token in found["tokens"]] == pytest.approx(wanted)
    figures = lm.perplexity(TEXT)
    assert (found["perplexity"], found["bits_per_byte"]) == pytest.approx(
        (figures["perplexity"], figures["bits_per_byte"])
    )
    assert "nothing to score" in refused(client, "losses", text="")
    assert "up to 2048" in refused(client, "losses", text="cat. " * 2000)


def test_beam(llama: Any) -> None:
    lm, client = llama
    found = asked(client, "beam", text="The cat", beams=3, tokens=4, length_penalty=0.5)
    nodes = found["nodes"]
    ids = [lm.tokenizer.bos_id, *lm.tokenizer.encode("The cat")]

    def path(place: int) -> list[int]:
        node = nodes[place]
        return [*(path(node["parent"]) if node["parent"] >= 0 else []), place]

    for place, node in enumerate(nodes):
        places = path(place)
        assert node["parent"] < place and node["sum"] == pytest.approx(sum(nodes[one]["logprob"] for one in places))
        read = [*ids, *(nodes[one]["id"] for one in places[:-1])]
        logp_V = PlainSteps(lm.model).prefill([read], len(read))[0][0].log_softmax(-1)
        assert node["logprob"] == pytest.approx(float(logp_V[node["id"]]), abs=1e-4)
    levels = [[node for place, node in enumerate(nodes) if len(path(place)) == depth] for depth in range(1, 5)]
    for level in levels:
        assert any(node["fate"] != "pruned" for node in level) and sum(node["fate"] == "kept" for node in level) <= 3
    assert len(found["best"]) == 3
    scores = [text["score"] for text in found["best"]]
    assert scores == sorted(scores, reverse=True)
    for text in found["best"]:
        places = path(text["node"])
        assert text["score"] == pytest.approx(nodes[text["node"]]["sum"] / len(places) ** 0.5, rel=1e-5)
        assert nodes[text["node"]]["fate"] == "ended"
    greedy = asked(client, "beam", text="The cat", beams=1, tokens=4)["best"]
    assert [text["text"] for text in greedy] == [lm.generate("The cat", max_tokens=4, temperature=0)]
    assert "beams" in refused(client, "beam", text="a", beams=100)
    assert "length_penalty" in refused(client, "beam", text="a", length_penalty=1e9)


@pytest.mark.parametrize("temperature", [0.0, 0.7])
def test_speculation(llama: Any, temperature: float) -> None:
    lm, client = llama
    text = "cat cat cat cat"
    found = asked(client, "speculation", text=text, tokens=20, guesses=4, temperature=temperature)
    tokens = [token for one in found["rounds"] for token in [*one["draft"], one["own"]] if token]
    accepted = [token["id"] for token in tokens if token.get("accepted", True)]
    assert lm.tokenizer.decode(accepted) == found["text"]
    for one in found["rounds"]:
        fates = [token["accepted"] for token in one["draft"]]
        assert fates == sorted(fates, reverse=True) and len(fates) <= 4  # none is accepted behind a rejected one
    if not temperature:
        assert any(one["draft"] for one in found["rounds"])  # greedy repeats itself, so something is guessed
        assert found["text"] == lm.generate(text, max_tokens=20, temperature=0)
    again = asked(client, "speculation", text=text, tokens=20, guesses=4, temperature=temperature)
    assert again == found
    assert "guesses" in refused(client, "speculation", text="a", guesses=1000)


def test_every_kind_of_model(tiny: Callable[[str], Path]) -> None:
    with opened(tiny("ngram")) as (_, client):
        assert asked(client, "next", text="The")["tokens"]
        assert asked(client, "losses", text="The cat")["tokens"]
        assert "needs a transformer" in refused(client, "attention", text="The")
        assert "needs a transformer" in refused(client, "lens", text="The")
    with opened(tiny("bert")) as (lm, client):
        queries = asked(client, "attention", text="The cat")["queries"]
        assert (queries[0], queries[-1]) == ("[CLS]", "[SEP]")
        assert asked(client, "lens", text="The cat")["next"] is False
        assert "encoder" in refused(client, "next", text="The cat")
        assert "encoder" in refused(client, "losses", text="The cat")
    with opened(tiny("t5")) as (lm, client):
        cross = asked(client, "attention", text="The cat", written="A dog", map="cross")
        maps = attention_maps(
            lm.model, [start_id(lm.model, lm.tokenizer), *lm.tokenizer.encode("A dog")],
            [*lm.tokenizer.encode("The cat"), lm.tokenizer.eos_id],
        )  # fmt: skip
        assert (torch.tensor(cross["weights"]) - maps.cross_LHTS[0]).abs().max() <= 0.5e-5 + 1e-7
        assert len(cross["queries"]) != len(cross["keys"])
        assert asked(client, "next", text="The cat")["tokens"]


def test_bodies_are_checked(llama: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    _, client = llama
    assert "unknown field 'layr'" in refused(client, "attention", text=TEXT, layr=1)
    half = client.post("/lab/tokens", content=b'{"text": "a\\ud83d"}', headers={"content-type": "application/json"})
    assert half.status_code == 400
    assert client.post("/lab/nothing", json={}).status_code == 404
    monkeypatch.setattr(lab, "WAITING", 0)
    answer = client.post("/lab/tokens", json={"text": "a"})
    assert answer.status_code == 429 and answer.headers["retry-after"]


def test_the_lab_is_behind_the_key_and_the_page_is_not(tiny: Callable[[str], Path]) -> None:
    with opened(tiny("ngram"), api_key="secret") as (_, client):
        assert client.get("/lab/about").status_code == 401
        assert client.post("/lab/tokens", json={"text": "a"}).status_code == 401
        assert client.get("/lab/about", headers={"authorization": "Bearer secret"}).status_code == 200
        assert client.get("/").status_code == client.get("/page/app.js").status_code == 200


def test_files_of_the_page(llama: Any) -> None:
    _, client = llama
    index = client.get("/")
    assert index.headers["content-type"].startswith("text/html")
    policy = index.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self';") and "unsafe" not in policy
    assert index.headers["x-content-type-options"] == "nosniff"
    assert client.get("/", headers={"if-none-match": index.headers["etag"]}).status_code == 304
    for name in ("../server.py", "..%2fserver.py", "%2e%2e/server.py", "nothing.js", "index.html%00"):
        assert client.get(f"/page/{name}").status_code == 404, name
    for name, content in page.content().items():
        answer = client.get(f"/page/{name}")
        assert answer.content == content and answer.headers["content-security-policy"] == policy
        assert "http" not in content.decode().replace("http://www.w3.org/2000/svg", ""), name
        assert name == "style.css" or content.count(b"\n") <= 300, name


def test_the_page_is_packed_into_the_wheel() -> None:
    folder = ROOT / "nextword" / "serve" / "page"
    packed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    there = [path for path in folder.iterdir() if path.is_file()]
    assert there and {path.name for path in there} == set(page.content())
    for path in there:
        assert any(PurePath("page", path.name).match(pattern) for pattern in packed["nextword.serve"]), path
