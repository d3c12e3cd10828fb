"""`nextword tune` as a user types it: the best is found, what was interrupted goes on, what cannot be is refused."""

import json
import math
import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nextword.cli import parse
from nextword.core import log
from nextword.core.errors import TrainingError
from nextword.core.settings import to_tree
from nextword.data.shards import TokenWriter
from nextword.recipes import tune
from nextword.recipes.pretrain import pretrain_tokens
from nextword.recipes.tune_settings import TuneSettings
from nextword.tokenizers.settings import TokenizerSettings
from nextword.tokenizers.train import train
from nextword.train import pretrain as training

MODEL = ["--model.width=16", "--model.depth=1", "--model.heads=2"]
TRAIN = ["--train.steps=18", "--train.batch=4", "--train.length=16", "--train.warmup=1", "--train.eval_every=2",
         "--train.eval_tokens=128", "--train.precision=fp32", "--train.threads=1"]  # fmt: skip
WEIGHTS = Path("model/model.safetensors")


def quick(*more: str) -> list[str]:
    """The settings of a quick tune, but for those that `more` gives anew."""
    given = {word.partition("=")[0] for word in more}
    kept = [word for word in (*MODEL, *TRAIN) if word.partition("=")[0] not in given]
    rates = [] if "--tune.learning_rates" in given else ["--tune.learning_rates", "1e-4,1e-3,1e-2"]
    return [*kept, *rates, "--quiet", *more]


def make_tokens(folder: Path, validation: bool = True) -> Path:
    texts = [f"{a} and {b} make {a + b}." for a in range(20) for b in range(10)]
    tokenizer = train(TokenizerSettings(kind="character"), iter(texts))
    with TokenWriter.create(folder, tokenizer) as writer:
        for number, text in enumerate(texts):
            split = "validation" if validation and number % 10 == 9 else "train"
            writer.add(split, tokenizer.encode(text), "sums", len(text.encode()), len(text.split()))
    return folder


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tokens(tmp_path_factory.mktemp("tokens") / "tokens")


@pytest.fixture(scope="module")
def whole(tokens: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tune of six trials on three rungs that nothing interrupted."""
    out = tmp_path_factory.mktemp("tune") / "whole"
    assert tune.main(settings(tokens, out)) == 0
    return out


def settings(tokens: Path, out: Path, *more: str) -> TuneSettings:
    arguments = [str(tokens), "--out", str(out), *quick("--tune.batches", "4,2", "--tune.eta=2", *more)]
    found = parse("tune", arguments)
    assert isinstance(found, TuneSettings)
    return found


def state(out: Path) -> dict[str, Any]:
    return json.loads((out / "tune.json").read_text())


def losses(out: Path) -> dict[str, list[float | None]]:
    return {name: entry["losses"] for name, entry in state(out)["trials"].items()}


def test_the_better_half_goes_on_and_the_best_of_all_is_named(whole: Path) -> None:
    found = losses(whole)
    assert sorted(map(len, found.values())) == [1, 1, 1, 2, 2, 3] == sorted([1] * 3 + [2] * 2 + [3])[:6]
    for rung in range(2):
        here = {name: values[rung] for name, values in found.items() if len(values) > rung}
        gone = [here[name] for name in here if len(found[name]) == rung + 1]
        assert max(value for name, value in here.items() if len(found[name]) > rung + 1) <= min(gone)
    assert len(found[state(whole)["best"]]) == 3


def test_rungs_end_after_as_many_tokens_whatever_the_batch(whole: Path) -> None:
    for name, entry in state(whole)["trials"].items():
        rows = log.read(whole / "trials" / name / "log.jsonl")
        assert len(rows) == entry["steps"][-1]
        expected = [row["validation_loss"] for row in rows if row["step"] in entry["steps"]]
        assert expected == entry["losses"]
        full = {4: [5, 9, 18], 2: [9, 18, 36]}[entry["batch"]]  # 18 steps of 4 rows: a quarter, a half, all
        assert entry["steps"] == full[: len(entry["steps"])]


def test_only_the_winner_keeps_its_model(whole: Path) -> None:
    kept = [path.parents[1].name for path in whole.glob("trials/*/model/model.safetensors")]
    assert kept == [state(whole)["best"]] and len(list(whole.glob("trials/*/checkpoints"))) == 1
    assert len(list(whole.glob("trials/*/log.jsonl"))) == 6


def test_the_next_command_trains_the_winner(whole: Path, tmp_path: Path) -> None:
    """A run that never stopped on a rung ends with the winner's weights: its schedule is that of the whole run."""
    tree = state(whole)
    words = shlex.split(tree["next"])
    assert words[:2] == ["nextword", "pretrain"]
    given = parse("pretrain", words[2:])
    alone = pretrain_tokens(given.tokens, given.model, given.train, tmp_path / "alone", quiet=True)
    assert alone.validation_loss == min(tree["trials"][tree["best"]]["losses"])
    assert (tmp_path / "alone" / WEIGHTS).read_bytes() == (whole / "trials" / tree["best"] / WEIGHTS).read_bytes()


def test_report_and_picture_name_the_best(whole: Path) -> None:
    page, best = (whole / "report.html").read_text(), state(whole)["trials"][state(whole)["best"]]
    assert f"{best['losses'][-1]:.4f}" in page and f"<dd>{best['learning_rate']:g}</dd>" in page
    assert 'aria-label="Validation loss over the learning rate"' in page and "Samples" not in page
    assert all(f"rung {rung}: " in page for rung in (1, 2, 3)) and "nextword pretrain" in page


class Wishes:
    """Presses Ctrl-C when it has been looked at so often, over all trials (once a step), or never."""

    def __init__(self, count: int) -> None:
        self.left = count

    @property
    def stop(self) -> bool:
        self.left -= 1
        return self.left == 0


@pytest.mark.parametrize("step", [3, 5, 47])  # within the first trial, at its end, in the second rung
def test_interrupted_equals_uninterrupted(
    tokens: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    wishes = Wishes(step)

    @contextmanager
    def listening() -> Iterator[Wishes]:
        yield wishes

    monkeypatch.setattr(training, "listening", listening)
    wanted = settings(tokens, tmp_path / "tune")
    if step != 5:  # a wish in the last step of a rung is no longer heard by a run that has ended
        assert tune.main(wanted) == 130
        assert not state(tmp_path / "tune")["finished"]
    assert tune.main(wanted) == 0
    same(tmp_path / "tune", whole)


@pytest.mark.parametrize("write", [2, 8])
def test_killed_before_a_result_is_written_down(
    tokens: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: int
) -> None:
    left = [write]

    def dying(path: Path, tree: Any) -> None:
        left[0] -= 1
        if left[0] == 0:
            raise MemoryError
        real(path, tree)

    real, wanted = tune.write_json, settings(tokens, tmp_path / "tune")
    monkeypatch.setattr(tune, "write_json", dying)
    with pytest.raises(MemoryError):
        tune.main(wanted)
    assert tune.main(wanted) == 0
    same(tmp_path / "tune", whole)


def same(one: Path, other: Path) -> None:
    """Both tunes found the same, number for number."""
    assert losses(one) == losses(other) and state(one)["best"] == state(other)["best"]
    winner = Path("trials") / state(one)["best"] / WEIGHTS
    assert (one / winner).read_bytes() == (other / winner).read_bytes()


def test_a_trial_that_diverges_is_the_worst_and_tuning_goes_on(
    here: Callable, tokens: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fragile(tokens: Path, model: Any, train: Any, *rest: Any, **more: Any) -> Any:
        if train.learning_rate == 1e-2:
            raise TrainingError("the loss of step 2 is not finite")
        return pretrain_tokens(tokens, model, train, *rest, **more)

    monkeypatch.setattr(tune, "pretrain_tokens", fragile)
    result = here("tune", tokens, "--out", tmp_path / "tune", *quick())
    assert result.returncode == 0 and "diverged" in result.stdout
    tree = state(tmp_path / "tune")
    assert tree["trials"]["batch4-lr0.01"]["diverged"] == "the loss of step 2 is not finite"
    assert tree["best"] == "batch4-lr0.001" and not tree["advice"]  # within the grid: the one above was too high
    assert "1 of 3 trials diverged" in (tmp_path / "tune" / "report.html").read_text()
    result = here("tune", tokens, "--out", tmp_path / "none", *quick("--tune.learning_rates", "1e-2"))
    assert result.returncode == 1 and "every trial has diverged: name lower" in result.stderr


def test_a_last_rung_that_diverges_leaves_the_runner_up(
    tokens: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def late(tokens: Path, model: Any, train: Any, *rest: Any, **more: Any) -> Any:
        if train.stop_at == train.steps:
            raise TrainingError("not finite")
        return pretrain_tokens(tokens, model, train, *rest, **more)

    monkeypatch.setattr(tune, "pretrain_tokens", late)
    assert tune.main(settings(tokens, tmp_path / "tune")) == 0
    tree = state(tmp_path / "tune")
    best = tree["trials"][tree["best"]]
    assert len(best["losses"]) == 2 and best["diverged"] is None and tree["model"] is None


def test_widths_are_tuned_apart_and_a_best_rate_at_the_edge_is_told(
    here: Callable, tokens: Path, tmp_path: Path
) -> None:
    more = ["--tune.widths", "8", "16", "--tune.rungs=1", "--train.mup_width=8", "--model.tied=false"]
    result = here("tune", tokens, "--out", tmp_path / "tune", *quick("--tune.learning_rates", "1e-4", "1e-3", *more))
    assert result.returncode == 0, result.stderr
    assert "loss within" in result.stdout and result.stderr == ""
    tree = state(tmp_path / "tune")
    assert set(tree["best_of_width"]) == {"8", "16"} and tree["best"].startswith("width16-")
    for width in (8, 16):
        said = f"note: the best learning rate of width {width}, 0.001, is the highest that was tried"
        assert said in result.stdout and "--tune.learning_rates 0.0001,0.001,0.01,0.1" in result.stdout
    assert "--model.width=16" in tree["next"] and "--train.mup_width=8 " in tree["next"]
    assert "Widths" in (tmp_path / "tune" / "report.html").read_text()


def test_again_it_has_nothing_to_do_and_json_says_what_was_found(here: Callable, tokens: Path, tmp_path: Path) -> None:
    command = ["tune", tokens, "--out", tmp_path / "tune", *quick(), "--json"]
    first, again = here(*command), here(*[word for word in command if word != "--quiet"])
    assert json.loads(first.stdout) == json.loads(again.stdout) == state(tmp_path / "tune")
    assert again.stderr == f"{tmp_path / 'tune'} is finished; nothing to do\n"


def test_dry_run_says_what_it_would_take(here: Callable, tokens: Path, tmp_path: Path) -> None:
    result = here("tune", tokens, "--out", tmp_path / "tune", *quick(), "--dry-run")
    assert "3 begin, 1 trained to the end" in result.stdout and "nothing was done" in result.stderr
    # rung 1: 3 trials of 6 steps of 4 rows of 16 tokens; rung 2: one for the 12 steps that are left
    rows = [line.split() for line in result.stdout.splitlines()[1:3]]
    assert rows == [["1", "3", "384", "1.2k"], ["2", "1", "1.2k", "768"]]
    assert not (tmp_path / "tune").exists()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--tune.learning_rates", ""], "tune.learning_rates is empty"),
        (["--tune.learning_rates", "fast"], "could not convert string to float: 'fast'"),
        (["--tune.learning_rates", "1e-3,1e-3"], "names a value twice"),
        (["--tune.widths", "20"], "tune.widths: 20 is no multiple of 8"),
        (["--tune.rungs=3"], "one trial of 3 is left after 2"),
        (["--tune.eta=1"], "tune.eta must be at least 2"),
        (["--tune.rates=3"], "Unknown option"),
        (["--train.warmup=6"], "would end at step 6 of 18, within the warm-up of 6"),
        (["--train.eval_every=0"], "set train.eval_every above 0"),
        (["--max-time", "1m"], "train.max_time does not apply to a tune"),
        (["--train.mup_width=8"], "add --model.tied=false"),
        (["--train.optimizer=sgd", "--train.mup_width=8"], "train.mup_width is for adamw"),
    ],
    ids=str,
)
def test_refused_before_anything_is_written(
    refused: Callable[..., str], tokens: Path, tmp_path: Path, more: list[str], message: str
) -> None:
    assert message in refused("tune", tokens, "--out", tmp_path / "tune", *quick(*more))
    assert not (tmp_path / "tune").exists()


def test_a_model_that_counts_has_nothing_to_tune(refused: Callable[..., str], tokens: Path, tmp_path: Path) -> None:
    assert "has no learning rate to tune" in refused("tune", tokens, "--out", tmp_path / "t", "--model", "ngram")


def test_a_folder_that_holds_something_else(
    refused: Callable[..., str], tokens: Path, whole: Path, tmp_path: Path
) -> None:
    message = refused("tune", tokens, "--out", whole, *quick("--tune.batches", "4,2", "--tune.eta=3"))
    assert "holds another run: tune.eta was 2, now 3" in message
    (tmp_path / "notes.txt").write_text("mine")
    assert "is not empty and holds no tune" in refused("tune", tokens, "--out", tmp_path, *quick())


def test_text_without_a_validation_split(refused: Callable[..., str], tmp_path: Path) -> None:
    message = refused("tune", make_tokens(tmp_path / "tokens", validation=False), "--out", tmp_path / "t", *quick())
    assert "has no validation text, by which trials are compared" in message


def test_flags_give_the_settings_back(tokens: Path, tmp_path: Path) -> None:
    given = settings(tokens, tmp_path)
    odd = replace(given.train, betas=(0.8, 0.95), compile=True, learning_rate=1.25e-4, ema=0.99, max_time="1h30m")
    tied = replace(given.model, tied=False, heads=None)
    words = tune.tune_result.flags("train", odd) + tune.tune_result.flags("model", tied)
    read = parse("pretrain", [str(tokens), "--out", str(tmp_path), *words])
    assert to_tree(read.train) == to_tree(odd) and read.model == tied and math.isfinite(read.train.ema)
