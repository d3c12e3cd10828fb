"""A model card from a run, and a push to a hub that stands in for the real one on this machine."""

import base64
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from nextword.assembly import folder
from nextword.core.files import write_json
from nextword.recipes.card import run_of, write_card


class Hub(BaseHTTPRequestHandler):
    """What huggingface_hub asks for in a push, answered from memory; `server.refuses` is an HTTP status to answer."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.server.refuses:
            self.answer({"error": "you may not write here"}, self.server.refuses)
        elif self.path == "/api/validate-yaml":
            self.answer({"errors": [], "warnings": []})
        elif self.path == "/api/repos/create":
            self.server.made.append(json.loads(body))
            self.answer({"url": f"http://{self.headers['Host']}/me/mine"})
        elif self.path == "/api/models/me/mine/preupload/main":
            paths = [file["path"] for file in json.loads(body)["files"]]
            self.answer({"files": [{"path": p, "uploadMode": "regular", "shouldIgnore": False} for p in paths]})
        elif self.path == "/api/models/me/mine/commit/main":
            for line in body.splitlines():
                one = json.loads(line)
                if one["key"] == "file":
                    self.server.files[one["value"]["path"]] = base64.b64decode(one["value"]["content"])
            self.server.tokens.add(self.headers["Authorization"])
            self.answer({"commitUrl": f"http://{self.headers['Host']}/me/mine/commit/1", "commitOid": "1"})
        else:
            self.answer({"error": f"not known here: {self.path}"}, 404)

    def answer(self, tree: dict[str, Any], status: int = 200) -> None:
        content = json.dumps(tree).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Silence."""


@pytest.fixture
def hub() -> Iterator[Any]:
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.files, server.made, server.tokens, server.refuses = {}, [], set(), None
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()


def convert(hub: Any, *arguments: object) -> subprocess.CompletedProcess[str]:
    env = os.environ | {"HF_ENDPOINT": f"http://127.0.0.1:{hub.server_port}", "HF_TOKEN": "hf_secret"}
    env |= {"HF_HUB_DISABLE_XET": "1", "HF_HUB_OFFLINE": "0", "NO_PROXY": "127.0.0.1"}
    command = [sys.executable, "-m", "nextword.cli", "convert", *map(str, arguments)]
    return subprocess.run(command, check=False, capture_output=True, text=True, env=env, timeout=120)


def test_a_folder_arrives_whole_with_its_card(hub: Any, tiny: Any, tmp_path: Path) -> None:
    done = convert(hub, tiny("llama"), tmp_path / "out", "--push", "me/mine", "--licence", "mit", "--private")
    assert done.returncode == 0, done.stderr
    assert "me/mine/commit/1" in done.stdout and "README.md" in done.stderr and "hf_secret" not in done.stderr
    assert "private" in json.dumps(hub.made[0]) and hub.tokens == {"Bearer hf_secret"}
    for name, content in hub.files.items():
        assert (tmp_path / "out" / name).read_bytes() == content
    card = hub.files["README.md"].decode()
    assert "license: mit" in card and 'nw.load("me/mine")' in card and "pipeline_tag: text-generation" in card
    fetched = tmp_path / "fetched"
    fetched.mkdir()
    for name, content in hub.files.items():
        (fetched / name).write_bytes(content)
    assert folder.load(fetched).model.vocab_size == folder.load(tiny("llama")).model.vocab_size


def test_what_the_hub_refuses_is_said_and_nothing_is_lost(hub: Any, tiny: Any, tmp_path: Path) -> None:
    hub.refuses = 403
    done = convert(hub, tiny("llama"), tmp_path / "out", "--push", "me/mine")
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "the hub did not take me/mine" in done.stderr and "HF_TOKEN" in done.stderr
    assert (tmp_path / "out" / "model.safetensors").is_file()


def test_a_card_says_what_the_run_wrote_down(tiny: Any, tmp_path: Path) -> None:
    run = tmp_path / "run"
    folder_of = run / "pretrain" / "model"
    folder_of.mkdir(parents=True)
    for path in tiny("llama").iterdir():
        (folder_of / path.name).write_bytes(path.read_bytes())
    tokens = {"split": "1 of 9 documents", "train": {"documents": 8, "tokens": 1234}}
    trained = {"steps": 7, "tokens": 4321, "seconds": 65.0, "device": "a laptop", "precision": "fp32"}
    trained |= {"objective": "next-token", "validation_loss": 1.2345}
    stages = {"tokenize": {"summary": tokens}, "pretrain": {"summary": trained}}
    settings = {"text": {"sources": ["tinyworld"]}, "train": {"steps": 7}}
    write_json(run / "run.json", {"recipe": "mine", "stages": stages, "settings": settings})
    figures = {"tokens": 50, "loss": 1.5, "perplexity": 4.48, "bits_per_byte": 1.01}
    write_json(run / "evaluation.json", {"all": figures, "sources": {}})
    write_json(run / "samples.json", [{"prompt": "Once", "text": " upon```"}])
    assert run_of(folder_of) == run
    card = write_card(folder_of, "mine", folder_of, None).read_text()
    for piece in ("- tinyworld", "8 documents, 1,234 tokens", "7 steps", "1m05s", "1.234 nats", "| all | 50 | 1.500 |",
                  "Once upon'''", '"steps": 7'):  # fmt: skip
        assert piece in card, piece
    assert "license" not in card
    (folder_of / "README.md").write_text("my own")
    assert write_card(folder_of, "mine", folder_of, None).read_text() == "my own"


def test_flags_that_cannot_have_an_effect(tiny: Any, refused: Any, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert "OWNER/NAME" in refused("convert", tiny("llama"), out, "--push", "mine")
    assert "add --push" in refused("convert", tiny("llama"), out, "--private")
    assert "stands in the card" in refused("convert", tiny("llama"), out, "--licence", "mit")
    assert "describes a folder" in refused("convert", tiny("llama"), tmp_path / "m.gguf", "--card")
