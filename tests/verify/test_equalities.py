"""What is the same is found to be the same in every family, and what cannot be tried is said."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from nextword.core.errors import ResourceError
from nextword.models import checkpoint as models
from nextword.models.settings import MADE
from nextword.quant import files
from nextword.quant.model import Quantisation, quantise
from nextword.tokenizers.base import Tokenizer
from nextword.train.run import Run
from nextword.verify.equality import EPSILON, ROUNDINGS, Finding, check, find, known, largest, verify
from nextword.verify.subject import Subject, rebuilt

DECODERS = ["llama", "gpt2", "nextword", "lstm", "ngram"]
FAMILIES = [*DECODERS, "bert", "electra", "t5", "bart", "marian"]
Make = Callable[..., Subject]
Failing = Callable[[str, Subject], Finding]


def test_every_equality_is_found_by_its_file() -> None:
    names = ("batched", "cached", "micro-batches", "packed", "quantised", "resumed", "saved", "served", "speculative")
    assert known() == names


@pytest.mark.parametrize("family", MADE)
def test_a_fresh_model_of_every_family_passes(subject: Make, family: str) -> None:
    trial = subject(family)
    before = {name: tensor.clone() for name, tensor in trial.model.state_dict().items()}
    state = torch.get_rng_state()
    every = family in {*FAMILIES, "gemma3_text", "phi3"}  # the long ones take longer than all others together
    wanted = [name for name in known() if every or name not in {"quantised", "speculative"}]
    found = {finding.name: finding for finding in verify(trial, wanted)}
    assert list(found) == wanted
    expected = {name: "passes" for name in wanted}
    if trial.model.kind == "encoder":
        expected |= {name: "does not apply" for name in {"cached", "served", "speculative"} & set(wanted)}
    if family in {"lstm", "ngram"}:
        expected |= {"quantised": "does not apply"}
    if family == "ngram":
        expected |= {"micro-batches": "does not apply", "resumed": "does not apply"}
        assert "counted" in found["resumed"].measured.reason and found["resumed"].measured.deviation is None
    assert {name: finding.verdict for name, finding in found.items()} == expected, found
    assert all(torch.equal(tensor, before[name]) for name, tensor in trial.model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)


def test_tolerances_are_what_their_reasons_say(subject: Make) -> None:
    trial = subject("llama")
    found = {finding.name: finding for finding in verify(trial)}
    assert found["resumed"].measured.tolerance == found["saved"].measured.tolerance == 0
    assert found["resumed"].measured.reason.startswith("exact")
    batched = found["batched"]
    scale = float(batched.measured.reason.rsplit(" ", 1)[1])
    assert batched.measured.tolerance == pytest.approx(ROUNDINGS * EPSILON * scale, rel=0.01)
    assert (
        0 < batched.measured.deviation < batched.measured.tolerance / 10
    )  # rounding is there, and far from the tolerance
    assert found["saved"].measured.note == "also untied"


def test_an_objective_that_the_tokenizer_cannot_serve_does_not_apply(
    subject: Make, tiny: Callable[[str], Path], tmp_path: Path
) -> None:
    models.save_model(models.load_model(tiny("bert")), tmp_path / "bert")
    Tokenizer.load(tiny("llama")).save(tmp_path / "bert")
    found = {finding.name: finding for finding in verify(subject(folder=tmp_path / "bert"), ["resumed", "saved"])}
    assert (found["resumed"].verdict, found["saved"].verdict) == ("does not apply", "passes")
    assert "needs a mask token" in found["resumed"].measured.reason


def test_an_untied_model_is_tried_tied(subject: Make, tmp_path: Path, failing: Failing) -> None:
    given = subject("llama")
    untied = rebuilt(given.model, {"tie_word_embeddings": False})
    models.save_model(untied, tmp_path / "untied")
    given.tokenizer.save(tmp_path / "untied")
    finding = failing("saved", subject(folder=tmp_path / "untied"))
    assert finding.verdict == "passes" and finding.measured.note == "also tied"


def test_a_folder_in_bf16(subject: Make, tiny: Callable[[str], Path], tmp_path: Path, failing: Failing) -> None:
    """Also where it is tried untied, with an output matrix that its file does not have."""
    models.save_model(models.load_model(tiny("llama"), torch.bfloat16), tmp_path / "half")
    Tokenizer.load(tiny("llama")).save(tmp_path / "half")
    finding = failing("saved", subject(folder=tmp_path / "half"))
    assert finding.verdict == "passes" and finding.measured.note == "also untied"


def test_a_quantised_folder(subject: Make, tmp_path: Path) -> None:
    given = subject("llama")
    list(quantise(given.model, Quantisation(4, 32)))
    files.save(given.model, tmp_path / "few")
    given.tokenizer.save(tmp_path / "few")
    trial = subject(folder=tmp_path / "few")
    found = {finding.name: finding.verdict for finding in verify(trial)}
    apart = {"micro-batches": "does not apply", "resumed": "does not apply"}
    assert found == {name: "passes" for name in known()} | apart


def test_a_side_that_cannot_be_computed_is_a_failure(subject: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    trial = subject("llama")

    def lost(self: Any, rows: Tensor) -> Any:
        raise ValueError("no such row")

    monkeypatch.setattr(type(trial.model.start(1, 1)), "select", lost)
    finding = check("cached", find("cached"), trial)
    assert (finding.verdict, finding.measured.deviation, finding.measured.reason) == (
        "fails",
        None,
        "ValueError: no such row",
    )


def test_a_full_disk_is_not_the_models_failure(subject: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    from nextword.verify.equalities import resumed

    def full(run: Run, out: Path) -> Path:
        raise ResourceError("the disk is full")

    monkeypatch.setattr(resumed, "save", full)
    with pytest.raises(ResourceError):
        list(verify(subject("llama"), ["resumed"]))


def test_what_is_not_a_number_is_infinitely_far() -> None:
    one = torch.ones(2)
    assert largest([("a", one, one), ("b", one * float("nan"), one)])[:2] == (float("inf"), "b")
    assert largest([("a", torch.ones(3), one)])[0] == float("inf")
    assert largest([("a", torch.tensor([0], dtype=torch.uint8), torch.tensor([1], dtype=torch.uint8))])[0] == 1


def test_a_text_without_variety_is_replaced(tiny: Callable[[str], Path]) -> None:
    from nextword.verify.subject import read_text

    tokenizer = Tokenizer.load(tiny("llama"))
    ids, note = read_text(["a a a a a a"], tokenizer, tokenizer.vocab_size)
    assert "random" in note and len(set(ids.tolist())) > 100
    ids, note = read_text([], tokenizer, tokenizer.vocab_size)
    assert "random" in note


def test_a_large_model_is_tried_by_its_first_layers(subject: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    from nextword.verify import subject as module

    monkeypatch.setattr(module, "LARGE", 1000)
    monkeypatch.setattr(module, "SHALLOW", 1)
    trial = subject("qwen2")
    trial.model.config["layer_types"] = ["full_attention"] * 2  # one for each layer, as transformers writes them
    found = {finding.name: finding for finding in verify(trial, ["micro-batches", "resumed", "saved"])}
    assert all(finding.verdict == "passes" for finding in found.values())
    assert all("by the first 1 of 2 layers" in finding.measured.note for finding in found.values())
