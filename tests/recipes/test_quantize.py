"""`nextword quantize` as a user calls it."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import nextword as nw
from nextword.quant import model
from nextword.quant.model import Quantisation
from nextword.recipes import quantize

Tiny = Callable[[str], Path]
Here = Callable[..., object]


def test_eight_bits_and_what_follows(here: Here, tiny: Tiny, tmp_path: Path) -> None:
    result = here("quantize", tiny("llama"), "--out", tmp_path / "few")
    assert result.returncode == 0 and "bits a weight" in result.stdout and "next: nextword evaluate" in result.stdout
    assert model.of(nw.load(tmp_path / "few").model) == Quantisation(8)
    seen = json.loads(here("inspect", tmp_path / "few", "--json").stdout)
    whole = json.loads(here("inspect", tiny("llama"), "--json").stdout)
    assert 8 < seen["quantised"]["bits_per_weight"] < 9  # one scale of 32 bits for rows of 32 and more
    assert {key: x for key, x in seen.items() if key != "quantised"} == whole
    assert "quantised: " in here("inspect", tmp_path / "few").stdout
    text = tmp_path / "text.txt"
    text.write_text("The cat sat on the mat, and the dog sat too.")
    for verb in (["evaluate", "--perplexity", "--text", text], ["generate"]):
        result = here(verb[0], tmp_path / "few", *verb[1:])
        assert result.returncode == 0, result


def test_calibrated_four_bits(here: Here, tiny: Tiny, tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("The cat sat on the mat, and the dog sat too. " * 20)
    result = here("quantize", tiny("llama"), "--bits", "4", "--group", "32", "--edges", "16", "--calibrate", text,
                  "--windows", "4", "--length", "16", "--out", tmp_path / "few")  # fmt: skip
    assert result.returncode == 0, result
    assert model.of(nw.load(tmp_path / "few").model) == Quantisation(4, 32, 16)


def test_what_cannot_be(refused: Callable[..., str], tiny: Tiny, tmp_path: Path) -> None:
    out = ("--out", tmp_path / "few")
    assert "one scale" in refused("quantize", tiny("llama"), "--group", "32", *out)
    assert "needs --calibrate" in refused("quantize", tiny("llama"), "--windows", "3", *out)
    assert "no layers" in refused("quantize", tiny("lstm"), *out)
    assert "exists" in refused("quantize", tiny("llama"), "--out", tmp_path)
    short = tmp_path / "short.txt"
    short.write_text("The cat")
    assert "fewer than" in refused("quantize", tiny("llama"), "--calibrate", short, *out)
    assert "max_length" in refused("quantize", tiny("llama"), "--calibrate", short, "--length", "100", *out)
    assert not (tmp_path / "few").exists()


def test_an_interrupted_command_leaves_nothing(
    tiny: Tiny, tmp_path: Path, here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(quantize.files, "write", interrupted)
    assert here("quantize", tiny("llama"), "--out", tmp_path / "few").returncode == 130
    assert list(tmp_path.iterdir()) == []
