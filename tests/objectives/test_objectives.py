"""Every objective: it fits its kinds, its parts add up, packed documents keep their loss, and it learns."""

import math
from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from torch import nn

from nextword.core.errors import SettingsError
from nextword.data.feed import Feed
from nextword.data.form import Row
from nextword.data.labelled import Labelled
from nextword.data.stream import Place
from nextword.models.base import Batch
from nextword.objectives.base import add, add_terms, inputs, mean
from nextword.objectives.choose import choose, find, known, purpose, settled
from nextword.objectives.settings import ObjectiveSettings
from nextword.tokenizers.base import Tokenizer
from nextword.train.loop import gradients
from nextword.train.pretrain import Text as TrainText
from nextword.train.pretrain import assemble
from nextword.train.run import Run
from nextword.train.settings import TrainSettings

CASES = [
    ("next-token", "gpt2", "gpt"),
    ("prefix", "llama", "gpt"),
    ("infill", "gpt2", "infill"),
    ("masked", "bert", "bert"),
    ("next-sentence", "bert", "bert"),
    ("replaced-token", "electra", "bert"),
    ("spans", "t5", "t5"),
    ("spans", "bart", "t5"),
    ("spans", "marian", "t5"),
    ("prefix", "t5", "t5"),
]
LENGTH = 24
Make = Callable[..., nn.Module]
Tokenizers = Callable[[str], Tokenizer]


def run_of(
    name: str, family: str, purpose: str, model: Make, tokenizer: Tokenizers, text: Callable, **train: object
) -> Run:
    chosen = tokenizer(purpose)
    heads = {"next_sentence": name == "next-sentence"} if family == "bert" else {}
    made = model(family, chosen.vocab_size, **heads)
    objective = choose(ObjectiveSettings(name=name), made, chosen)
    settings = TrainSettings(length=LENGTH, precision="fp32", **train)
    return assemble(made, TrainText(text(chosen)), settings, "fp32", objective)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]}-{case[1]}")
@pytest.mark.parametrize("micro_batch", [1, 3])
def test_parts_equal_the_whole(
    case: tuple[str, str, str], micro_batch: int, model: Make, tokenizer: Tokenizers, text: Callable
) -> None:
    whole = run_of(*case, model, tokenizer, text, batch=7)
    parts = run_of(*case, model, tokenizer, text, batch=7, micro_batch=micro_batch)
    batch = whole.feed().take(7)
    loss, summed = gradients(whole, batch), gradients(parts, batch)
    torch.testing.assert_close(summed, loss, atol=1e-5, rtol=1e-5)
    for (name, expected), found in zip(whole.weights.masters.items(), parts.weights.masters.values(), strict=True):
        if expected.grad is not None:
            torch.testing.assert_close(
                found.grad, expected.grad, atol=2e-5, rtol=1e-4, msg=lambda m, n=name: f"{n}: {m}"
            )


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]}-{case[1]}")
def test_loss_counts_and_look_agree(
    case: tuple[str, str, str], model: Make, tokenizer: Tokenizers, text: Callable
) -> None:
    run = run_of(*case, model, tokenizer, text, batch=6)
    batch = run.feed().take(6)
    loss = run.objective(run.model, batch)
    counts = run.objective.counts(batch)  # the balance of experts is counted for mixtures and others
    assert {name: int(term.count) for name, term in loss.items()} == {name: counts[name] for name in loss}
    assert tuple(loss) == run.objective.names
    with torch.no_grad():
        looked, sums = run.objective.look(run.model, batch)
        halves = [run.objective.look(run.model, batch.part(start, start + 3)) for start in (0, 3)]
    assert mean(looked) == pytest.approx(mean(loss), rel=1e-5)
    together = add_terms(halves[0][0], halves[1][0]), add(halves[0][1], halves[1][1])
    assert mean(together[0]) == pytest.approx(mean(loss), rel=1e-5)
    figures = run.objective.figures(sums)
    assert figures == run.objective.figures(together[1])
    assert all(0 <= value <= 1 for value in figures.values())
    if case[0] not in {"next-token"}:
        assert any(name in figures for name in ("unigram_accuracy", "majority_accuracy")), "beside the trivial one"


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]}-{case[1]}")
def test_every_weight_learns_and_the_loss_falls(
    case: tuple[str, str, str], model: Make, tokenizer: Tokenizers, text: Callable
) -> None:
    run = run_of(*case, model, tokenizer, text, batch=8)
    for module in run.modules:
        module.initialise(0.1, torch.Generator().manual_seed(0))
    optimizer = torch.optim.Adam(run.weights.masters.values(), 1e-2)
    batch = run.feed().take(8)
    losses, reached = [], set()
    for _ in range(25):
        losses.append(float(gradients(run, batch)))
        reached |= {name for name, weight in run.weights.masters.items() if weight.grad is not None}
        optimizer.step()
        run.weights.publish()
    assert losses[-1] < 0.8 * losses[0] and all(math.isfinite(loss) for loss in losses)
    unused = set(run.weights.masters) - reached
    assert not unused, "every weight is of use for the objective"


PACKED = [
    ("next-token", "gpt2", "gpt"),
    ("masked", "bert", "bert"),
    ("replaced-token", "electra", "bert"),
    ("spans", "t5", "t5"),
]


@pytest.mark.parametrize("case", PACKED, ids=lambda case: f"{case[0]}-{case[1]}")
def test_packed_or_separate_the_loss_is_the_same(
    case: tuple[str, str, str], model: Make, tokenizer: Tokenizers, text: Callable
) -> None:
    name, family, purpose = case
    chosen = tokenizer(purpose)
    made = model(family, chosen.vocab_size)
    objective = choose(ObjectiveSettings(name=name, packing="documents"), made, chosen)
    batch = Feed(text(chosen), objective.form, 100, Place(0)).take(3)
    assert batch.segments_BT is not None and int(batch.segments_BT.max()) > 0
    whole = objective(made, batch)
    alone = {name: 0.0 for name in whole}
    for row in range(batch.rows):
        for number in range(int(batch.segments_BT[row].max()) + 1):
            for name, term in objective(made, separate(batch, row, number)).items():
                alone[name] += float(term.total.detach())
    for name, term in whole.items():
        assert alone[name] == pytest.approx(float(term.total.detach()), rel=2e-5), name
    blind = Labelled(batch.ids_BT, batch.labels_BT, batch.mask_BT, source=batch.source, noise_BT=batch.noise_BT)
    if batch.source is None:
        seen = objective(made, blind)
        assert abs(float(next(iter(seen.values())).total) - alone[next(iter(alone))]) > 1e-3, "segments matter"


def separate(batch: Labelled, row: int, number: int) -> Labelled:
    """One document of a packed row, as a row of its own."""
    here = batch.segments_BT[row] == number
    source = None
    if batch.source is not None:
        there = batch.source.segments_BT[row] == number
        source = type(batch.source)(batch.source.ids_BT[row, there][None])
    noise = None if batch.noise_BT is None else batch.noise_BT[row, here][None]
    return Labelled(batch.ids_BT[row, here][None], batch.labels_BT[row, here][None], source=source, noise_BT=noise)


def test_an_objective_that_does_not_fit_is_refused_by_name() -> None:
    for name in known():
        for kind in ("decoder", "encoder", "encoder-decoder"):
            if kind in find(name).kinds:
                assert settled(ObjectiveSettings(name=name), kind).name == name
            else:
                with pytest.raises(SettingsError, match=f"the objective '{name}' is for .* of kind '{kind}'"):
                    settled(ObjectiveSettings(name=name), kind)
    assert known() == sorted(["infill", "masked", "next-sentence", "next-token", "prefix", "replaced-token", "spans"])
    with pytest.raises(SettingsError, match="no 'maskd' .* did you mean 'masked'"):
        settled(ObjectiveSettings(name="maskd"), "encoder")
    with pytest.raises(SettingsError, match=r"objective\.span_mean does not apply to 'masked', which has mask_rate"):
        settled(ObjectiveSettings(span_mean=3), "encoder")


def test_the_usual_objective_of_each_kind_and_its_tokenizer() -> None:
    usual = {"decoder": ("next-token", "gpt"), "encoder": ("masked", "bert"), "encoder-decoder": ("spans", "t5")}
    for kind, (name, tokens) in usual.items():
        assert settled(ObjectiveSettings(), kind).name == name and purpose(ObjectiveSettings(), kind) == tokens
    assert settled(ObjectiveSettings(), "encoder", ("replaced_token",)).name == "replaced-token"
    assert purpose(ObjectiveSettings(name="infill"), "decoder") == "infill"


@pytest.mark.parametrize(
    "name, family, command",
    [("masked", "bert", "bert"), ("next-sentence", "bert", "bert"), ("replaced-token", "electra", "bert"),
     ("spans", "t5", "t5"), ("infill", "llama", "infill")],
)  # fmt: skip
def test_a_tokenizer_without_the_special_tokens_names_the_command(
    name: str, family: str, command: str, model: Make, tokenizer: Tokenizers
) -> None:
    plain = tokenizer("gpt")
    with pytest.raises(SettingsError, match=f"nextword tokenizer train --for {command}"):
        choose(ObjectiveSettings(name=name), model(family, plain.vocab_size), plain)


def test_heads_that_are_missing_are_named(model: Make, tokenizer: Tokenizers) -> None:
    bert = tokenizer("bert")
    with pytest.raises(SettingsError, match="no next-sentence head"):
        choose(ObjectiveSettings(name="next-sentence"), model("bert", bert.vocab_size, next_sentence=False), bert)
    with pytest.raises(SettingsError, match="choose --model electra"):
        choose(ObjectiveSettings(name="replaced-token"), model("bert", bert.vocab_size), bert)


class Certain:
    """An encoder whose scores are set by hand: it finds token 3 everywhere."""

    def hidden(self, batch: Batch) -> object:
        return type("Output", (), {"hidden_BTD": torch.zeros(*batch.ids_BT.shape, 1)})

    def logits(self, hidden_ND: torch.Tensor) -> torch.Tensor:
        return torch.tensor([2.0, 0, 0, 1, 0]).expand(len(hidden_ND), 5)  # 0 is special and no guess

    def score(self, batch: Batch, labels_BT: torch.Tensor) -> torch.Tensor:
        return torch.where(labels_BT == -100, 0.0, -1.5)


def test_accuracy_and_its_baseline_by_hand() -> None:
    from nextword.objectives.masked import Accuracy

    objective = Accuracy("masked", frozenset({"encoder"}), None, torch.tensor([True, False, False, False, False]))
    labels = torch.tensor([[-100, 3, 3, 4], [0, 2, 4, 4]])  # six that count: 3 3 4 2 4 4; 0 is special
    loss, sums = objective.look(Certain(), Labelled(torch.zeros_like(labels), labels))
    assert float(loss["masked"].total) == 7 * 1.5 and int(loss["masked"].count) == 7
    assert objective.figures(sums) == {"masked_accuracy": 2 / 6, "unigram_accuracy": 3 / 6}


def test_electra_draws_by_the_rows_own_noise_and_counts_true_draws_as_originals(
    model: Make, tokenizer: Tokenizers, text: Callable
) -> None:
    from nextword.objectives.replaced_token import sample

    run = run_of("replaced-token", "electra", "bert", model, tokenizer, text, batch=6)
    objective, batch = run.objective, run.feed().take(6)
    _, replaced, odds, real = objective.loss(run.model, batch)
    hidden = batch.labels_BT != -100
    assert not replaced[~hidden].any() and 0 < replaced.sum() <= hidden.sum() and real.all()
    states = objective.extra.hidden(inputs(batch)).hidden_BTD[hidden]
    drawn = sample(objective.extra, states, batch.noise_BT[hidden])
    assert (drawn != batch.labels_BT[hidden]).equal(replaced[hidden])
    p = objective.extra.logits(states[:1]).softmax(-1)[0].double()
    noise = torch.linspace(0, 1, 20001, dtype=torch.float64)[:-1]
    counted = torch.bincount(sample(objective.extra, states[:1].expand(20000, -1), noise), minlength=len(p)) / 20000
    assert (counted - p).abs().max() < 2e-4, "inversion draws from the distribution itself"


def test_electra_shares_embeddings_and_weighs_by_fifty(model: Make, tokenizer: Tokenizers, text: Callable) -> None:
    run = run_of("replaced-token", "electra", "bert", model, tokenizer, text, batch=4)
    generator = run.objective.extra
    assert generator.embedding.weight is run.model.embedding.weight and len(generator.blocks) == 1
    assert sum(name.endswith("embedding.weight") for name in run.weights.masters) == 1, "one master for both"
    loss = run.objective(run.model, run.feed().take(4))
    assert loss["replaced_token"].weight == 50 and loss["generator"].weight == 1
    beside = run.beside()
    assert beside and not any("embedding" in name for name in beside), "what both share is the model's"


def test_electra_as_one_encoder_with_two_outputs(model: Make, tokenizer: Tokenizers, text: Callable) -> None:
    chosen = tokenizer("bert")
    made = model("electra", chosen.vocab_size)
    objective = choose(ObjectiveSettings(name="replaced-token", generator_shares="all"), made, chosen)
    settings = TrainSettings(length=LENGTH, batch=4, precision="fp32")
    run = assemble(made, TrainText(text(chosen)), settings, "fp32", objective)
    generator = objective.extra
    assert len(generator.blocks) == len(made.blocks) and generator.norm is made.norm
    query = made.blocks[0].attention.query.weight
    assert sum(master.data_ptr() == query.data_ptr() for master in run.weights.masters.values()) == 1
    assert {name.split(".")[1] for name in run.beside()} == {"head"}, "only the output that fills is not the model's"
    batch = run.feed().take(4)
    found = {}
    for name in ("generator", "replaced_token"):  # both train the same layers
        run.objective(made, batch)[name].total.backward()
        found[name] = query.grad.clone()
        query.grad = None
    gradients(run, batch)
    counts = objective.counts(batch)
    wanted = found["generator"] / counts["generator"] + 50 * found["replaced_token"] / counts["replaced_token"]
    torch.testing.assert_close(query.grad, wanted, atol=1e-6, rtol=1e-4)
    with pytest.raises(SettingsError, match="generator_depth has no effect with generator_shares=all"):
        ObjectiveSettings(generator_shares="all", generator_depth=2)
    with pytest.raises(SettingsError, match="generator_shares must be embeddings or all"):
        ObjectiveSettings(generator_shares="half")


def test_next_sentence_by_hand(model: Make, tokenizer: Tokenizers, text: Callable) -> None:
    run = run_of("next-sentence", "bert", "bert", model, tokenizer, text, batch=5)
    batch = run.feed().take(5)
    read = inputs(batch)
    scores = run.model.heads["next_sentence"](run.model.hidden(read).hidden_BTD, read).log_softmax(-1)
    expected = -sum(float(scores[row, int(random)]) for row, random in enumerate(batch.random_B))
    loss = run.objective(run.model, batch)
    assert float(loss["next_sentence"].total) == pytest.approx(expected, rel=1e-5)
    assert float(loss["masked"].total) == pytest.approx(-float(run.model.score(inputs(batch), batch.labels_BT).sum()))


def test_a_row_of_nothing_but_special_tokens_is_named(model: Make, tokenizer: Tokenizers) -> None:
    from nextword.core.errors import DataError

    bert = tokenizer("bert")
    objective = choose(ObjectiveSettings(name="masked"), model("bert", bert.vocab_size), bert)
    import numpy as np

    with pytest.raises(DataError, match="all padding"):
        objective.form([Row((np.array([bert.sep_id] * 4),), (0, 0, 0), ((0, 4),))], 8)


def test_warm_up_grows_rows_and_length(model: Make, tokenizer: Tokenizers, text: Callable) -> None:
    settings = TrainSettings(batch=16, length=64, batch_warmup=8, length_warmup=4, steps=20)
    rows, lengths = ([grow(step) for step in range(12)] for grow in (settings.rows_at, settings.length_at))
    assert rows[0] == 2 and rows[8:] == [16] * 4 and all(a <= b for a, b in pairwise(rows))
    assert lengths[0] == 8 and lengths[4:] == [64] * 8 and all(a <= b for a, b in pairwise(lengths))
