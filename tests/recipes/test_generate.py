"""`nextword generate` as a user calls it."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from shutil import copytree

import pytest
import torch
from safetensors.torch import load_file, save_file

import nextword as nw

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def model(tiny: Callable[[str], Path]) -> Path:
    return tiny("llama")


def test_text_to_stdout_and_figures_to_stderr(cli: Run, model: Path) -> None:
    result = cli("generate", model, "The cat", "--max-tokens", 12, "--seed", 5, "--temperature", 0.9)
    assert result.returncode == 0, result.stderr
    expected = nw.load(model).generate("The cat", max_tokens=12, seed=5, temperature=0.9)
    assert result.stdout == f"The cat{expected}\n"
    line = result.stderr.strip().splitlines()[-1]
    assert "12 tokens" in line and "tokens/s" in line and "max_tokens reached" in line and "seed 5" in line
    assert "first after" in line


def test_a_seed_that_was_drawn_gives_the_text_again(here: Run, model: Path) -> None:
    first = here("generate", model, "The", "--max-tokens", 9)
    seed = first.stderr.strip().rstrip("]").split("seed ")[-1]
    assert here("generate", model, "The", "--max-tokens", 9, "--seed", seed).stdout == first.stdout


def test_json_and_several(cli: Run, model: Path) -> None:
    result = cli("generate", model, "-", "--n", 2, "--max-tokens", 7, "--seed", 1, "--json", input="The cat\n")
    tree = json.loads(result.stdout)
    lm = nw.load(model)
    assert tree["prompt"] == "The cat"
    texts = [lm.generate("The cat", max_tokens=7, seed=seed) for seed in (1, 2)]
    assert [c["text"] for c in tree["continuations"]] == texts
    first = tree["continuations"][0]
    assert len(first["ids"]) == len(first["logprobs"]) == 7
    assert (first["reason"], first["seed"]) == ("length", 1)


def test_without_a_prompt_a_text_begins(here: Run, model: Path) -> None:
    result = here("generate", model, "--max-tokens", 5, "--temperature", 0, "--quiet", "--n", 2)
    assert result.stderr == ""
    text = nw.load(model).generate("", max_tokens=5, temperature=0)
    assert result.stdout.count(text) == 2


def test_beams_give_the_n_best_with_their_scores(here: Run, model: Path) -> None:
    command = ("generate", model, "The cat", "--strategy", "beam", "--beams", 4, "--n", 3, "--max-tokens", 6)
    found = json.loads(here(*command, "--json").stdout)["continuations"]
    assert len(found) == 1 and len(found[0]["best"]) == 3
    scores = [one["score"] for one in found[0]["best"]]
    assert scores == sorted(scores, reverse=True) and found[0]["text"] == found[0]["best"][0]["text"]
    shown = here(*command).stdout
    assert all(f"The cat{one['text']}" in shown for one in found[0]["best"])
    assert f"--- 3 of 3, score {scores[2]:.3f}" in shown
    text = nw.load(model).generate("The cat", strategy="beam", beams=4, max_tokens=6)
    assert found[0]["text"] == text == "".join(nw.load(model).stream("The cat", strategy="beam", beams=4, max_tokens=6))


def test_speculation_gives_the_same_greedy_text(here: Run, tiny: Callable[[str], Path], model: Path) -> None:
    plain = here("generate", model, "The cat", "--max-tokens", 20, "--temperature", 0).stdout
    command = ("generate", model, "The cat", "--max-tokens", 20, "--temperature", 0, "--strategy")
    assert here(*command, "lookup", "--guesses", 4).stdout == plain
    assert here(*command, "speculative", "--draft", tiny("ngram")).stdout == plain
    lm = nw.load(model)
    assert f"The cat{lm.generate('The cat', max_tokens=20, temperature=0, strategy='speculative', draft=lm)}\n" == plain


def test_alternatives(here: Run, model: Path) -> None:
    found = json.loads(here("generate", model, "The", "--max-tokens", 4, "--top-logprobs", 2, "--json").stdout)
    [result] = found["continuations"]
    assert [len(top) for top in result["top_logprobs"]] == [2] * 4


def test_ctrl_c_ends_the_text_where_it_is(model: Path) -> None:
    long = nw.load(model)  # an LSTM has no longest text, so it can go on for as long as the test needs
    assert long.model.max_length == 64
    folder = model.parent / "endless"
    copytree(model, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 1_000_000}))
    command = [sys.executable, "-m", "nextword.cli", "generate", folder, "The", "--max-tokens", "900000"]
    command += ["--compiled", "never", "--top-k", "5"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.read(20).startswith("The")  # the text appears while it is made
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    rest, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert rest.endswith("\n")
    assert "Traceback" not in errors
    assert "interrupted" in errors


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["The", "--max-tokens", 64], "exceed the model's max_length (64): set max_tokens to at most"),
        (["zq " * 60], "the model reads at most 64: shorten the prompt"),
        (["The", "--temperature", -1], "temperature must be at least 0"),
        (["The", "--top-p", 0], "top_p must be above 0"),
        (["The", "--n", 0], "n must be between 1 and 1000"),
        (["The", "--n", 10**6], "n must be between 1 and 1000"),
        (["The", "--beams", 3], "beams has no effect with strategy sample: leave it out, or choose beam"),
        (["The", "--strategy", "bean"], "did you mean 'beam'"),
        (["The", "--strategy", "beam", "--n", 5], "n (5) is more than the 4 beams"),
        (["The", "--strategy", "speculative"], "needs a draft"),
        (["The", "--draft", "x"], "a draft has no effect without strategy speculative"),
        (["The", "--strategy", "contrastive", "--compiled", "always"], "use compiled = auto"),
        (["The", "--temprature", 1], "--temperature"),
    ],
)
def test_wrong_settings_are_one_line(
    refused: Callable[..., str], model: Path, arguments: list[object], message: str
) -> None:
    assert message in refused("generate", model, *arguments)


def test_a_draft_of_another_vocabulary(refused: Callable[..., str], model: Path, tiny: Callable[[str], Path]) -> None:
    command = ("generate", model, "The", "--max-tokens", 5, "--strategy", "speculative", "--draft")
    assert "a draft must share the vocabulary" in refused(*command, tiny("t5"))


def test_an_encoder_is_told_how_many_masks(here: Run, refused: Callable[..., str], tiny: Callable[[str], Path]) -> None:
    assert "set max_tokens" in refused("generate", tiny("bert"), "The cat")
    found = here("generate", tiny("bert"), "The cat", "--max-tokens", 4, "--iterations", 2, "--temperature", 0)
    assert found.returncode == 0 and "4 tokens" in found.stderr


def test_a_prompt_that_is_not_utf8(model: Path) -> None:
    command = [sys.executable, "-m", "nextword.cli", "generate", model, "-"]
    result = subprocess.run(command, input=b"\xff\xfe", capture_output=True, check=False)
    assert (result.returncode, result.stderr) == (
        1, b"error: the prompt on stdin is not UTF-8 (invalid start byte at byte 0)\n",
    )  # fmt: skip


def test_folders_that_are_no_models(refused: Callable[..., str], model: Path, tmp_path: Path) -> None:
    assert "not a folder" in refused("generate", tmp_path / "nothing", "The")
    broken = tmp_path / "nan"
    copytree(model, broken)
    tensors = load_file(broken / "model.safetensors")
    next(iter(tensors.values()))[0] = torch.nan
    save_file(tensors, broken / "model.safetensors", metadata={"format": "pt"})
    assert "finite" in refused("generate", broken, "The")
