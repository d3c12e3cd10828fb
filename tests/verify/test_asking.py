"""Faults in how a model is asked are caught: its cache, guesses, blocks, compiled steps, formats of few bits."""

from collections.abc import Callable
from typing import Any

import pytest
from torch import Tensor

from nextword.engine.step import PlainSteps
from nextword.models.base import Batch, Output
from nextword.quant import format as formats
from nextword.quant.model import Quantisation, quantise
from nextword.verify.equality import Finding
from nextword.verify.subject import Subject

DECODERS = ["llama", "gpt2", "nextword", "lstm", "ngram"]
Make = Callable[..., Subject]
Failing = Callable[[str, Subject], Finding]
Broken = Callable[[Any, Callable[..., Output]], None]


@pytest.mark.parametrize("broken_part", ["halves", "scales", "signs"])
def test_a_format_that_is_read_wrongly_is_caught(
    subject: Make, monkeypatch: pytest.MonkeyPatch, broken_part: str, failing: Failing
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


def test_a_compiled_step_that_rounds_too_much_is_caught(
    subject: Make, monkeypatch: pytest.MonkeyPatch, failing: Failing
) -> None:
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


@pytest.mark.parametrize("family", [*DECODERS, "t5"])
def test_a_cache_that_forgets_a_position_is_caught(
    subject: Make, family: str, failing: Failing, broken: Broken
) -> None:
    trial = subject(family)

    def forgetful(hidden: Callable[..., Output], batch: Batch, state: Any) -> Output:
        if state is not None and bool((state.lengths_B > 0).all()):
            if family == "lstm":  # whose memory is one vector: a part of it is lost
                state.h_LBD[..., 0] = 0
            else:
                state = state.crop(state.lengths_B - 1)
        return hidden(batch, state)

    broken(trial.model, forgetful)
    finding = failing("cached", trial)
    assert finding.verdict == "fails" and finding.measured.where.startswith("token")


def test_a_cache_that_mixes_up_rows_is_caught(subject: Make, monkeypatch: pytest.MonkeyPatch, failing: Failing) -> None:
    trial = subject("llama")
    state = type(trial.model.start(1, 1))
    select = state.select
    monkeypatch.setattr(
        state,
        "select",
        lambda self, rows: state(select(self, rows.flip(0)).layers, [self.lengths[row] for row in rows]),
    )
    assert failing("cached", trial).verdict == "fails"


def test_a_cache_that_cannot_take_tokens_back_is_caught(
    subject: Make, monkeypatch: pytest.MonkeyPatch, failing: Failing
) -> None:
    trial = subject("llama")
    monkeypatch.setattr(type(trial.model.start(1, 1)), "crop", lambda self, lengths_B: self)
    assert failing("cached", trial).verdict == "fails"


@pytest.mark.parametrize("family", DECODERS)
def test_guesses_that_are_not_verified_are_caught(
    subject: Make, monkeypatch: pytest.MonkeyPatch, family: str, failing: Failing
) -> None:
    from nextword.decode import speculation

    trial = subject(family)
    assert failing("speculative", trial).verdict == "passes"
    monkeypatch.setattr(speculation, "judge", lambda scores_V, guess, q_V, row: guess)
    finding = failing("speculative", trial)
    assert finding.verdict == "fails" and "drafted by" in finding.measured.where


def test_guesses_that_stay_in_the_cache_are_caught(
    subject: Make, monkeypatch: pytest.MonkeyPatch, failing: Failing
) -> None:
    trial = subject("llama")
    cache = type(trial.model.start(1, 1))
    crop = cache.crop
    monkeypatch.setattr(cache, "crop", lambda self, lengths_B: crop(self, (lengths_B + 1).clamp(max=self.lengths_B)))
    assert failing("speculative", trial).verdict == "fails"


def test_a_compiled_step_that_errs_is_caught(subject: Make, monkeypatch: pytest.MonkeyPatch, failing: Failing) -> None:
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


def test_blocks_that_belong_to_another_beginning_are_caught(
    subject: Make, monkeypatch: pytest.MonkeyPatch, failing: Failing
) -> None:
    """Names of blocks that do not know what stands before them: two texts with equal tokens in one place share them."""
    from nextword.engine import scheduler

    trial = subject("llama")
    monkeypatch.setattr(scheduler, "names", lambda ids, size, before=b"": [b"one"] * (len(ids) // size))
    finding = failing("served", trial)
    assert finding.verdict == "fails" and finding.measured.where.startswith("token")


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_chunks_of_a_prompt_that_do_not_see_each_other_are_caught(
    subject: Make, monkeypatch: pytest.MonkeyPatch, family: str, failing: Failing
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
    subject: Make, monkeypatch: pytest.MonkeyPatch, family: str, failing: Failing
) -> None:
    from nextword.engine.reading import ApartReader

    trial = subject(family)
    read = ApartReader.read
    monkeypatch.setattr(ApartReader, "read", lambda self, works: read(self, works).flip(0))
    assert failing("served", trial).verdict == "fails"
