"""Every equality holds for good models of every kind, and fails for a model that was broken on purpose."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from nextword.core.errors import ResourceError
from nextword.data.labelled import Labelled
from nextword.engine.step import PlainSteps
from nextword.models import checkpoint as models
from nextword.models.base import Batch, Output
from nextword.models.create import create
from nextword.models.settings import MADE, ModelSettings
from nextword.models.stack import Places, Stack
from nextword.quant import files
from nextword.quant import format as formats
from nextword.quant.model import Quantisation, quantise
from nextword.tokenizers.base import Tokenizer
from nextword.train import loop
from nextword.train.run import Run
from nextword.verify.equality import EPSILON, ROUNDINGS, Finding, check, find, known, largest, verify
from nextword.verify.subject import Subject, rebuilt

DECODERS = ["llama", "gpt2", "nextword", "lstm", "ngram"]
FAMILIES = [*DECODERS, "bert", "electra", "t5", "bart", "marian"]
Make = Callable[..., Subject]


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


def test_an_untied_model_is_tried_tied(subject: Make, tmp_path: Path) -> None:
    given = subject("llama")
    untied = rebuilt(given.model, {"tie_word_embeddings": False})
    models.save_model(untied, tmp_path / "untied")
    given.tokenizer.save(tmp_path / "untied")
    finding = failing("saved", subject(folder=tmp_path / "untied"))
    assert finding.verdict == "passes" and finding.measured.note == "also tied"


def test_a_quantised_folder(subject: Make, tmp_path: Path) -> None:
    given = subject("llama")
    list(quantise(given.model, Quantisation(4, 32)))
    files.save(given.model, tmp_path / "few")
    given.tokenizer.save(tmp_path / "few")
    trial = subject(folder=tmp_path / "few")
    found = {finding.name: finding.verdict for finding in verify(trial)}
    apart = {"micro-batches": "does not apply", "resumed": "does not apply"}
    assert found == {name: "passes" for name in known()} | apart


@pytest.mark.parametrize("broken_part", ["halves", "scales", "signs"])
def test_a_format_that_is_read_wrongly_is_caught(
    subject: Make, monkeypatch: pytest.MonkeyPatch, broken_part: str
) -> None:
    """Halves of bytes in the wrong order; scales of the neighbour; numbers without their sign."""
    good = formats.decode

    def decode(codes: Tensor, scales_NG: Tensor, form: formats.Format, *rest: Any) -> Tensor:
        if broken_part == "scales":
            scales_NG = scales_NG.roll(1, 0)
        elif form.bits == 4:
            codes = codes >> 4 | codes << 4 if broken_part == "halves" else codes & 0x77
        return good(codes, scales_NG, form, *rest)

    monkeypatch.setattr(formats, "decode", decode)
    finding = failing("quantised", subject("llama"))
    assert finding.verdict == "fails" and finding.measured.deviation > 2


def test_a_compiled_step_that_rounds_too_much_is_caught(subject: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    trial = subject("llama")
    list(quantise(trial.model, Quantisation(8)))
    monkeypatch.setattr("nextword.verify.equalities.quantised.stepper", lambda *_: Coarse(trial.model))
    assert failing("quantised", trial).verdict == "fails"


class Coarse:
    """The plain steps, with what they say rounded to whole numbers."""

    def __init__(self, model: Any) -> None:
        self.steps = PlainSteps(model)

    def prefill(self, *given: Any) -> Any:
        logits_BV, state = self.steps.prefill(*given)
        return logits_BV.round(), state


def failing(name: str, trial: Subject) -> Finding:
    finding = check(name, find(name), trial)
    assert finding.measured.deviation is not None, finding.measured.reason  # compared, not stumbled
    return finding


def broken(monkeypatch: pytest.MonkeyPatch, model: Any, change: Callable[..., Output]) -> None:
    """Puts `change(hidden, batch, state)` in the place of the model's `hidden`."""
    hidden = type(model).hidden
    monkeypatch.setattr(
        type(model), "hidden", lambda self, batch, state=None: change(lambda *given: hidden(self, *given), batch, state)
    )


@pytest.mark.parametrize("family", [*DECODERS, "t5"])
def test_a_cache_that_forgets_a_position_is_caught(subject: Make, monkeypatch: pytest.MonkeyPatch, family: str) -> None:
    trial = subject(family)

    def forgetful(hidden: Callable[..., Output], batch: Batch, state: Any) -> Output:
        if state is not None and bool((state.lengths_B > 0).all()):
            if family == "lstm":  # whose memory is one vector: a part of it is lost
                state.h_LBD[..., 0] = 0
            else:
                state = state.crop(state.lengths_B - 1)
        return hidden(batch, state)

    broken(monkeypatch, trial.model, forgetful)
    finding = failing("cached", trial)
    assert finding.verdict == "fails" and finding.measured.where.startswith("token")


def test_a_cache_that_mixes_up_rows_is_caught(subject: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    trial = subject("llama")
    state = type(trial.model.start(1, 1))
    select = state.select
    monkeypatch.setattr(
        state,
        "select",
        lambda self, rows: state(select(self, rows.flip(0)).layers, [self.lengths[row] for row in rows]),
    )
    assert failing("cached", trial).verdict == "fails"


def test_a_cache_that_cannot_take_tokens_back_is_caught(subject: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    trial = subject("llama")
    monkeypatch.setattr(type(trial.model.start(1, 1)), "crop", lambda self, lengths_B: self)
    assert failing("cached", trial).verdict == "fails"


@pytest.mark.parametrize("family", DECODERS)
def test_guesses_that_are_not_verified_are_caught(subject: Make, monkeypatch: pytest.MonkeyPatch, family: str) -> None:
    from nextword.decode import speculation

    trial = subject(family)
    assert failing("speculative", trial).verdict == "passes"
    monkeypatch.setattr(speculation, "judge", lambda scores_V, guess, q_V, row: guess)
    finding = failing("speculative", trial)
    assert finding.verdict == "fails" and "drafted by" in finding.measured.where


def test_guesses_that_stay_in_the_cache_are_caught(subject: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    trial = subject("llama")
    cache = type(trial.model.start(1, 1))
    crop = cache.crop
    monkeypatch.setattr(cache, "crop", lambda self, lengths_B: crop(self, (lengths_B + 1).clamp(max=self.lengths_B)))
    assert failing("speculative", trial).verdict == "fails"


def test_a_compiled_step_that_errs_is_caught(subject: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    from nextword.engine.step import PlainSteps
    from nextword.verify.equalities import cached

    class Compiled:
        """A plan that reads every token as the one before it in the vocabulary."""

        def __init__(self, model: Any, shift: int) -> None:
            self.plain, self.shift = PlainSteps(model), shift

        def prefill(self, rows: list[list[int]], length: int) -> Any:
            return self.plain.prefill(rows, length)

        def step(self, ids: list[int], state: Any) -> Any:
            return self.plain.step([number - self.shift for number in ids], state)

    trial = subject("llama")
    for shift, verdict in ((0, "passes"), (1, "fails")):
        monkeypatch.setattr(cached, "stepper", lambda model, tokens, shift=shift: Compiled(model, shift))
        finding = failing("cached", trial)
        assert finding.verdict == verdict and finding.measured.note == "the compiled step of generation included"
    assert finding.measured.where.endswith("(compiled)")


def test_blocks_that_belong_to_another_beginning_are_caught(subject: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names of blocks that do not know what stands before them: two texts with equal tokens in one place share them."""
    from nextword.engine import scheduler

    trial = subject("llama")
    monkeypatch.setattr(scheduler, "names", lambda ids, size, before=b"": [b"one"] * (len(ids) // size))
    finding = failing("served", trial)
    assert finding.verdict == "fails" and finding.measured.where.startswith("token")


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_chunks_of_a_prompt_that_do_not_see_each_other_are_caught(
    subject: Make, monkeypatch: pytest.MonkeyPatch, family: str
) -> None:
    from nextword.nn.paged import PagedView, Part

    trial = subject(family)
    attend = PagedView.attend

    def forgetful(self: PagedView, *given: Any) -> Tensor:
        object.__setattr__(self, "parts", [Part(part.count, 0, part.blocks) for part in self.parts])
        return attend(self, *given)

    monkeypatch.setattr(PagedView, "attend", forgetful)
    assert failing("served", trial).verdict == "fails"


@pytest.mark.parametrize("family", ["lstm", "t5"])
def test_texts_that_are_read_apart_and_mixed_up_are_caught(
    subject: Make, monkeypatch: pytest.MonkeyPatch, family: str
) -> None:
    from nextword.engine.reading import ApartReader

    trial = subject(family)
    read = ApartReader.read
    monkeypatch.setattr(ApartReader, "read", lambda self, works: read(self, works).flip(0))
    assert failing("served", trial).verdict == "fails"


@pytest.mark.parametrize("family", DECODERS)
def test_padding_that_is_seen_is_caught(subject: Make, monkeypatch: pytest.MonkeyPatch, family: str) -> None:
    trial = subject(family)

    def from_the_right(hidden: Callable[..., Output], batch: Batch, state: Any) -> Output:
        """A model that reads backwards meets the padding first."""
        return Output(hidden(Batch(batch.ids_BT.flip(1))).hidden_BTD.flip(1))

    broken(monkeypatch, trial.model, from_the_right)
    finding = failing("batched", trial)
    assert finding.verdict == "fails" and finding.measured.where.startswith("token")


@pytest.mark.parametrize("family", ["bert", "electra", "t5"])
def test_a_mask_that_is_lost_is_caught(subject: Make, monkeypatch: pytest.MonkeyPatch, family: str) -> None:
    trial = subject(family)

    def unmasked(hidden: Callable[..., Output], batch: Batch, state: Any) -> Output:
        source = batch.source and replace(batch.source, mask_BT=None)
        return hidden(replace(batch, mask_BT=None if source is None else batch.mask_BT, source=source), state)

    broken(monkeypatch, trial.model, unmasked)
    assert failing("batched", trial).verdict == "fails"


def test_a_packed_target_that_sees_every_source_is_caught(subject: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    trial = subject("t5")

    def open_source(hidden: Callable[..., Output], batch: Batch, state: Any) -> Output:
        source = batch.source
        if source is not None and source.segments_BT is not None:
            source = replace(source, segments_BT=torch.where(source.segments_BT < 0, -1, 0))
        segments_BT = None if batch.segments_BT is None else torch.where(batch.segments_BT < 0, -1, 0)
        return hidden(replace(batch, source=source, segments_BT=segments_BT), state)

    broken(monkeypatch, trial.model, open_source)
    assert failing("packed", trial).verdict == "fails"


@pytest.mark.parametrize("family", FAMILIES)
def test_packing_that_leaks_is_caught(subject: Make, monkeypatch: pytest.MonkeyPatch, family: str) -> None:
    trial = subject(family)
    broken(monkeypatch, trial.model, lambda hidden, batch, state: hidden(replace(batch, segments_BT=None), state))
    finding = failing("packed", trial)
    assert finding.verdict == "fails" and "document" in finding.measured.where


def test_positions_that_go_on_in_packed_rows_are_caught(subject: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    trial = subject("gpt2")
    places = Stack.places

    def going_on(self: Stack, batch: Batch) -> Places:
        found = places(self, batch)
        return replace(found, positions_BT=torch.arange(found.longest).expand_as(found.positions_BT))

    monkeypatch.setattr(Stack, "places", going_on)
    assert failing("packed", trial).verdict == "fails"


@pytest.mark.parametrize("family", ["llama", "lstm", "bert", "electra", "t5"])
def test_the_mean_of_the_means_is_caught(subject: Make, monkeypatch: pytest.MonkeyPatch, family: str) -> None:
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
    subject: Make, monkeypatch: pytest.MonkeyPatch, what: str
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


def test_data_that_begins_anew_is_caught(subject: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    trial, to_json = subject("llama"), Run.to_json
    monkeypatch.setattr(Run, "to_json", lambda self: to_json(self) | {"place": {"seed": 0, "epoch": 0, "position": 0}})
    assert failing("resumed", trial).verdict == "fails"


def test_random_numbers_that_begin_anew_are_caught(
    subject: Make, tiny: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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
def test_a_save_that_unties_is_caught(subject: Make, monkeypatch: pytest.MonkeyPatch, family: str) -> None:
    trial, write = subject(family), models.write_model

    def untying(model: Any, folder: Path, shard_bytes: int = models.SHARD_BYTES) -> None:
        other = rebuilt(model, {"tie_word_embeddings": False})
        if "head.weight" not in model.state_dict():
            other.head.weight.data = model.embedding.weight.data.clone()
        write(other, folder, shard_bytes)

    monkeypatch.setattr(models, "write_model", untying)
    finding = failing("saved", trial)
    assert finding.verdict == "fails" and finding.measured.deviation == float("inf")


def test_a_save_that_rounds_is_caught(subject: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    trial, save = subject("llama"), models.save_file

    def rounding(tensors: dict[str, Tensor], path: Path, metadata: dict[str, str]) -> None:
        save({name: tensor.bfloat16().to(tensor.dtype) for name, tensor in tensors.items()}, path, metadata)

    monkeypatch.setattr(models, "save_file", rounding)
    finding = failing("saved", trial)
    assert finding.verdict == "fails" and 0 < finding.measured.deviation < float("inf")


@pytest.mark.parametrize("family", ["llama", "lstm"])
def test_a_load_that_swaps_numbers_is_caught(subject: Make, monkeypatch: pytest.MonkeyPatch, family: str) -> None:
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
