"""Faults in how a model is taught and kept are caught: padding, packing, micro-batches, resuming, saving."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from nextword.data.labelled import Labelled
from nextword.models import checkpoint as models
from nextword.models.base import Batch, Output
from nextword.models.create import create
from nextword.models.settings import ModelSettings
from nextword.models.stack import Places, Stack
from nextword.tokenizers.base import Tokenizer
from nextword.train import loop
from nextword.train.run import Run
from nextword.verify.equality import Finding, find
from nextword.verify.subject import Subject, rebuilt

DECODERS = ["llama", "gpt2", "nextword", "lstm", "ngram"]
FAMILIES = [*DECODERS, "bert", "electra", "t5", "bart", "marian"]
Make = Callable[..., Subject]
Failing = Callable[[str, Subject], Finding]
Broken = Callable[[Any, Callable[..., Output]], None]


@pytest.mark.parametrize("family", DECODERS)
def test_padding_that_is_seen_is_caught(subject: Make, family: str, failing: Failing, broken: Broken) -> None:
    trial = subject(family)

    def from_the_right(hidden: Callable[..., Output], batch: Batch, state: Any) -> Output:
        """A model that reads backwards meets the padding first."""
        return Output(hidden(Batch(batch.ids_BT.flip(1))).hidden_BTD.flip(1))

    broken(trial.model, from_the_right)
    finding = failing("batched", trial)
    assert finding.verdict == "fails" and finding.measured.where.startswith("token")


@pytest.mark.parametrize("family", ["bert", "electra", "t5"])
def test_a_mask_that_is_lost_is_caught(subject: Make, family: str, failing: Failing, broken: Broken) -> None:
    trial = subject(family)

    def unmasked(hidden: Callable[..., Output], batch: Batch, state: Any) -> Output:
        source = batch.source and replace(batch.source, mask_BT=None)
        return hidden(replace(batch, mask_BT=None if source is None else batch.mask_BT, source=source), state)

    broken(trial.model, unmasked)
    assert failing("batched", trial).verdict == "fails"


def test_a_packed_target_that_sees_every_source_is_caught(subject: Make, failing: Failing, broken: Broken) -> None:
    trial = subject("t5")

    def open_source(hidden: Callable[..., Output], batch: Batch, state: Any) -> Output:
        source = batch.source
        if source is not None and source.segments_BT is not None:
            source = replace(source, segments_BT=torch.where(source.segments_BT < 0, -1, 0))
        segments_BT = None if batch.segments_BT is None else torch.where(batch.segments_BT < 0, -1, 0)
        return hidden(replace(batch, source=source, segments_BT=segments_BT), state)

    broken(trial.model, open_source)
    assert failing("packed", trial).verdict == "fails"


@pytest.mark.parametrize("family", FAMILIES)
def test_packing_that_leaks_is_caught(subject: Make, family: str, failing: Failing, broken: Broken) -> None:
    trial = subject(family)
    broken(trial.model, lambda hidden, batch, state: hidden(replace(batch, segments_BT=None), state))
    finding = failing("packed", trial)
    assert finding.verdict == "fails" and "document" in finding.measured.where


def test_positions_that_go_on_in_packed_rows_are_caught(
    subject: Make, monkeypatch: pytest.MonkeyPatch, failing: Failing
) -> None:
    trial = subject("gpt2")
    places = Stack.places

    def going_on(self: Stack, batch: Batch) -> Places:
        found = places(self, batch)
        return replace(found, positions_BT=torch.arange(found.longest).expand_as(found.positions_BT))

    monkeypatch.setattr(Stack, "places", going_on)
    assert failing("packed", trial).verdict == "fails"


@pytest.mark.parametrize("family", ["llama", "lstm", "bert", "electra", "t5"])
def test_the_mean_of_the_means_is_caught(
    subject: Make, monkeypatch: pytest.MonkeyPatch, family: str, failing: Failing
) -> None:
    def means(run: Run, batch: Labelled) -> Tensor:
        starts = range(0, batch.rows, run.settings.micro_rows)
        for start in starts:
            terms = run.objective(run.model, batch.part(start, start + run.settings.micro_rows))
            loss = sum(term.weight * term.total / term.count.clamp(min=1) for term in terms.values())
            run.weights.backward(loss / len(starts))
        return torch.zeros(())

    trial = subject(family)
    monkeypatch.setattr(loop, "gradients", means)
    finding = failing("micro-batches", trial)
    assert finding.verdict == "fails" and finding.measured.deviation > 100 * finding.measured.tolerance


def lost(found: dict[str, Tensor], what: str) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in found.items() if not name.startswith(what)}


@pytest.mark.parametrize("what", ["optimizer.mean", "optimizer.square", "optimizer.time"])
def test_a_checkpoint_without_the_optimizer_is_caught(
    subject: Make, monkeypatch: pytest.MonkeyPatch, what: str, failing: Failing
) -> None:
    from nextword.verify.equalities import resumed

    trial, save = subject("llama"), resumed.save

    def forgetful(run: Run, out: Path) -> Path:
        whole = run.tensors
        run.tensors = lambda: lost(whole(), what)  # type: ignore[method-assign]
        return save(run, out)

    monkeypatch.setattr(resumed, "save", forgetful)
    finding = failing("resumed", trial)
    assert finding.verdict == "fails" and finding.measured.where


def test_data_that_begins_anew_is_caught(subject: Make, monkeypatch: pytest.MonkeyPatch, failing: Failing) -> None:
    trial, to_json = subject("llama"), Run.to_json
    monkeypatch.setattr(Run, "to_json", lambda self: to_json(self) | {"place": {"seed": 0, "epoch": 0, "position": 0}})
    assert failing("resumed", trial).verdict == "fails"


def test_random_numbers_that_begin_anew_are_caught(
    subject: Make, tiny: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: Failing
) -> None:
    tokenizer = Tokenizer.load(tiny("lstm"))
    model = create(ModelSettings(family="lstm", width=16, dropout=0.5), tokenizer.vocab_size, 0, eos_id=0)
    models.save_model(model, tmp_path / "dropout")
    tokenizer.save(tmp_path / "dropout")
    trial = subject(folder=tmp_path / "dropout")
    assert failing("resumed", trial).verdict == "passes"
    monkeypatch.setattr(torch, "set_rng_state", lambda state: None)
    trial = subject(folder=tmp_path / "dropout")
    assert find("resumed").measure(trial).deviation > 0


@pytest.mark.parametrize("family", ["llama", "lstm", "bert", "t5"])
def test_a_save_that_unties_is_caught(
    subject: Make, monkeypatch: pytest.MonkeyPatch, family: str, failing: Failing
) -> None:
    trial, write = subject(family), models.write_model

    def untying(model: Any, folder: Path, shard_bytes: int = models.SHARD_BYTES) -> None:
        other = rebuilt(model, {"tie_word_embeddings": False})
        if "head.weight" not in model.state_dict():
            other.head.weight.data = model.embedding.weight.data.clone()
        write(other, folder, shard_bytes)

    monkeypatch.setattr(models, "write_model", untying)
    finding = failing("saved", trial)
    assert finding.verdict == "fails" and finding.measured.deviation == float("inf")


def test_a_save_that_rounds_is_caught(subject: Make, monkeypatch: pytest.MonkeyPatch, failing: Failing) -> None:
    trial, save = subject("llama"), models.save_file

    def rounding(tensors: dict[str, Tensor], path: Path, metadata: dict[str, str]) -> None:
        save({name: tensor.bfloat16().to(tensor.dtype) for name, tensor in tensors.items()}, path, metadata)

    monkeypatch.setattr(models, "save_file", rounding)
    finding = failing("saved", trial)
    assert finding.verdict == "fails" and 0 < finding.measured.deviation < float("inf")


@pytest.mark.parametrize("family", ["llama", "lstm"])
def test_a_load_that_swaps_numbers_is_caught(
    subject: Make, monkeypatch: pytest.MonkeyPatch, family: str, failing: Failing
) -> None:
    trial, read = subject(family), models.read_tensors

    def swapped(folder: Path) -> Iterator[tuple[str, Tensor]]:
        for name, tensor in read(folder):
            yield (
                name,
                tensor.flip(0) if name in {"model.layers.1.mlp.down_proj.weight", "lstm.weight_hh_l0"} else tensor,
            )

    monkeypatch.setattr(models, "read_tensors", swapped)
    finding = failing("saved", trial)
    assert finding.verdict == "fails"
