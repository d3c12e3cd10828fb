"""`nextword chat` as a user calls it: piped, and in a terminal of its own."""

import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from shutil import copytree

import pytest

from nextword.engine.conversation import PLAIN
from nextword.tokenizers.base import Tokenizer

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def model(tiny: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("chat") / "model"
    copytree(tiny("llama"), folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 400}))
    (folder / "chat_template.jinja").write_text(PLAIN)
    return folder


def test_piped(cli: Run, model: Path, tmp_path: Path) -> None:
    """Lines are messages; answers alone go to stdout; the context is kept, dropped, saved, reset."""
    lines = ["The cat sat.", "/system The dog.", "And?", "/retry", f"/save {tmp_path / 'c.json'}", "/settings top_k=5"]
    lines += ["The dog sat on the mat, and the cat sat too."] * 9
    lines += ["/reset", "Once", f"/save {tmp_path / 'd.json'}"]
    result = cli("chat", model, "--max-tokens", 20, "--seed", 1, "--top-p", 0.9, input="\n".join(lines) + "\n")
    assert result.returncode == 0, result.stderr
    saved = json.loads((tmp_path / "c.json").read_text())["messages"]
    assert [message["role"] for message in saved] == ["system", "user", "assistant", "user", "assistant"]
    assert [saved[0]["content"], saved[3]["content"]] == ["The dog.", "And?"]
    answers = result.stdout
    assert saved[2]["content"] in answers and saved[4]["content"] in answers
    assert "oldest messages are no longer read" in result.stderr
    assert "top_k=5" in result.stderr and "tokens/s" in result.stderr
    later = json.loads((tmp_path / "d.json").read_text())["messages"]
    assert [message["content"] for message in later[:2]] == ["The dog.", "Once"]


def test_quiet_has_answers_alone(cli: Run, model: Path) -> None:
    result = cli("chat", model, "--max-tokens", 8, "--seed", 1, "--quiet", input="The cat\n")
    assert result.returncode == 0 and result.stderr == "" and result.stdout.strip()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("/rest", "no command /rest; did you mean 'reset'?"),
        ("/retry", "there is no answer"),
        ("/save", "/save needs a file"),
        ("/settings temperature=-1", "temperature must be at least 0"),
        ("/settings temprature=1", "did you mean 'temperature'"),
        ("cat " * 500, "exceed the model's 400"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    here: Run, model: Path, monkeypatch: pytest.MonkeyPatch, line: str, message: str
) -> None:
    import io

    monkeypatch.setattr(sys, "stdin", io.StringIO(line + "\n"))
    result = here("chat", model, "--max-tokens", 5)
    assert result.returncode == 2 and message in result.stderr


def test_a_model_without_a_template(here: Run, tiny: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    import io

    monkeypatch.setattr(sys, "stdin", io.StringIO("The cat\n"))
    assert "has no conversation template" in here("chat", tiny("llama")).stderr
    monkeypatch.setattr(sys, "stdin", io.StringIO("The\n"))
    result = here("chat", tiny("llama"), "--plain", "--max-tokens", 8, "--seed", 2)
    assert result.returncode == 0 and result.stdout.strip()


def test_in_a_terminal(model: Path, tmp_path: Path) -> None:
    """Ctrl-C stops an answer and keeps it, an error does not end the conversation, Ctrl-D does."""
    copytree(model, tmp_path / "endless")
    config = json.loads((model / "config.json").read_text())
    (tmp_path / "endless" / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 1_000_000}))
    main, end = pty.openpty()
    command = [sys.executable, "-m", "nextword.cli", "chat", tmp_path / "endless", "--max-tokens", "900000"]
    command += ["--banned-ids", str(Tokenizer.load(model).eos_id), "--compiled", "never"]  # it never ends by itself
    process = subprocess.Popen(command, stdin=end, stdout=end, stderr=end, start_new_session=True)
    os.close(end)
    seen = ""

    def until(text: str) -> None:
        nonlocal seen
        deadline = time.monotonic() + 100
        while text not in seen or not seen.partition(text)[2] and text == "\n":
            assert time.monotonic() < deadline, seen
            seen += os.read(main, 1000).decode(errors="replace")
        seen = seen.partition(text)[2]

    until("> ")
    os.write(main, b"The cat\n")
    until("The cat")
    until("\n")  # and what follows: the answer has begun
    process.send_signal(signal.SIGINT)
    until("interrupted")
    until("> ")
    os.write(main, b"/nothing\n")
    until("error: no command /nothing")
    until("> ")
    os.write(main, b"\x04")
    assert process.wait(60) == 0
    os.close(main)
