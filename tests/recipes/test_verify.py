"""`nextword verify` as a user types it: table, JSON, exit status, and the file beside the model."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest
import torch
from torch import nn

from nextword.assembly.folder import load
from nextword.cli import main
from nextword.core.errors import ResourceError
from nextword.nn import segments
from nextword.recipes import verify

BROKEN = """
from dataclasses import replace
from nextword.models.recurrent import RecurrentModel
hidden = RecurrentModel.hidden
RecurrentModel.hidden = lambda self, batch, state=None: hidden(self, replace(batch, segments_BT=None), state)
from nextword.cli import main
from nextword.core.errors import ResourceError
main({arguments!r})
"""


@pytest.fixture
def folder(tiny: Callable[[str], Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny("lstm"), tmp_path / "model"))


def broken(*arguments: object) -> subprocess.CompletedProcess[str]:
    """The command line on a nextword whose LSTM reads across the documents of a packed row."""
    code = BROKEN.format(arguments=[*map(str, arguments)])
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


@pytest.fixture
def here(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """The command line in this process, which spares its imports: status, stdout, stderr."""

    def run(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main([*map(str, arguments)])
        shown = capsys.readouterr()
        return int(str(ended.value.code)), shown.out, shown.err

    return run


def test_a_good_model(cli: Callable, folder: Path) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    result = cli("verify", folder)
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    for title in ("batched = single", "cached = uncached", "micro-batches = batch", "packed = separate",
                  "resumed = uninterrupted", "saved = loaded"):  # fmt: skip
        line = next(line for line in lines if line.startswith(title))
        assert line.rstrip().endswith("passes"), line
    assert lines[-1] == f'next: nextword generate {folder} "The"'
    tree = json.loads((folder / "verify.json").read_text())
    assert tree["passed"] is True and tree["text"] == "tinyworld:50" and tree["nextword"] and tree["date"]
    assert tree["files"] == {name: sha256(before[name]).hexdigest() for name in ("config.json", "model.safetensors")}
    assert tree["equalities"]["resumed"]["deviation"] == tree["equalities"]["resumed"]["tolerance"] == 0
    assert {name: (folder / name).read_bytes() for name in before} == before
    assert isinstance(load(folder).model, nn.Module)  # the new file is in nobody's way


def test_a_broken_model_ends_with_status_1(folder: Path) -> None:
    result = broken("verify", folder, "--only", "packed", "batched")
    assert result.returncode == 1 and "Traceback" not in result.stderr
    assert "packed = separate fails, most at: token" in result.stdout and "next: " not in result.stdout
    tree = json.loads((folder / "verify.json").read_text())
    assert tree["passed"] is False
    assert {name: found["verdict"] for name, found in tree["equalities"].items()} == {
        "packed": "fails", "batched": "passes"}  # fmt: skip


def test_what_was_found_before_stays_as_long_as_the_model_does(
    here: Callable, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = folder.parent / "text.txt"
    text.write_text("A caramel iced latte, said the dog that sat on the mat. " * 3)
    with monkeypatch.context() as patch:
        patch.setattr(segments, "positions", torch.zeros_like)
        assert here("verify", folder, "--only=packed")[0] == 1
    status, out, _ = here("verify", folder, "--only", "saved", "--text", text, "--json")
    shown = json.loads(out)
    assert status == 0 and shown["passed"] and list(shown["equalities"]) == ["saved"]
    assert shown["text"] == str(text)
    tree = json.loads((folder / "verify.json").read_text())
    assert not tree["passed"] and list(tree["equalities"]) == ["packed", "saved"]
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config))  # other bytes: another model
    assert here("verify", folder, "--only=saved", "--quiet")[0] == 0
    assert list(json.loads((folder / "verify.json").read_text())["equalities"]) == ["saved"]


def test_counts_have_no_gradients(here: Callable, tiny: Callable[[str], Path], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny("ngram"), tmp_path / "model"))
    (folder / "verify.json").write_text("[]")  # nothing of ours
    status, out, err = here("verify", folder, "--quiet")
    assert status == 0 and not err
    assert out.count("does not apply") == 3  # of gradients, and of weights in few bits
    found = json.loads((folder / "verify.json").read_text())["equalities"]["micro-batches"]
    assert found["deviation"] is None and found["reason"].startswith("it is counted")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["MODEL", "--only", "cachd"], "did you mean 'cached'?"),
        (["nowhere"], "nowhere is not a folder"),
        (["MODEL", "--text", "nowhere.txt"], "nowhere.txt"),
    ],
)
def test_bad_input(here: Callable, folder: Path, arguments: list[str], message: str) -> None:
    status, _, err = here("verify", *(folder if word == "MODEL" else word for word in arguments))
    assert status in {1, 2} and err.startswith("error: ") and message in err
    assert not (folder / "verify.json").exists()


def test_a_folder_that_cannot_be_written_is_verified_all_the_same(
    here: Callable, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, tree: object) -> None:
        raise ResourceError(f"cannot write {path}")

    monkeypatch.setattr(verify, "write_json", refuse)
    status, _, err = here("verify", folder, "--only=batched", "--quiet")
    assert status == 0 and err.startswith("not stored: cannot write")


@pytest.mark.parametrize("family", ["llama", "gpt2", "t5"])
def test_transformers_reads_a_verified_folder_and_what_it_writes_is_verified(
    here: Callable, tiny: Callable[[str], Path], tmp_path: Path, family: str
) -> None:
    from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

    folder, theirs = Path(shutil.copytree(tiny(family), tmp_path / "model")), tmp_path / "theirs"
    assert here("verify", folder, "--only=saved", "--quiet")[0] == 0
    assert (folder / "verify.json").exists()
    kind = AutoModelForSeq2SeqLM if family == "t5" else AutoModelForCausalLM
    kind.from_pretrained(folder).save_pretrained(theirs)
    for file in folder.glob("tokenizer*"):
        shutil.copy(file, theirs)
    status, out, _ = here("verify", theirs, "--quiet")
    assert status == 0, out
