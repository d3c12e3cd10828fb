"""What a step takes in memory: foretold from a few rows, as it turns out to be, and refused where it is not there."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from nextword.core.errors import ResourceError
from nextword.core.memory import Held, TooMuch
from nextword.models.create import create
from nextword.models.settings import ModelSettings
from nextword.train import memory
from nextword.train.folder import Summary
from nextword.train.pretrain import Text, assemble
from nextword.train.run import Run
from nextword.train.settings import TrainSettings

Pretrain = Callable[..., Summary]


def test_bytes_by_hand() -> None:
    old = torch.ones(1000)
    with Held(float("inf")) as held:
        view = old[10:].view(2, 495)  # nothing new
        assert held.now == 0
        new = view + 1  # 990 fp32
        half = new[:1]  # a view: its memory lives as long as it
        assert held.now == 3960
        del new
        other = torch.zeros(5, dtype=torch.int64)
        assert held.now == 4000
        del half
        assert (held.now, held.phase(), held.phase()) == (40, 4000, 40)
        del other
    assert held.now == 0
    with pytest.raises(TooMuch), Held(39):
        torch.zeros(5, dtype=torch.int64)


def begin(text: Text, family: str = "llama", precision: str = "fp32", **settings: object) -> Run:
    sizes = {"width": 32, "depth": 2} | ({} if family == "lstm" else {"heads": 2})
    model = create(ModelSettings(family=family, **sizes), 16, 1)
    settings = {"steps": 3, "length": 24, "precision": precision, **settings}
    return assemble(model, text, TrainSettings(**settings), precision)


@pytest.mark.parametrize(
    "how",
    [{}, {"micro_batch": 13}, {"recompute": True}, {"family": "gpt2"}, {"family": "lstm"}, {"precision": "bf16"}],
    ids=str,
)
def test_two_small_rehearsals_foretell_a_large_step(text: Text, how: dict) -> None:
    run = begin(text, **{"batch": 26, **how})
    rows = memory.rows_at_once(run)
    assert memory.rehearsed(run, rows) == [2, 4]
    direct = max(memory.rehearse(run, rows, parts="micro_batch" in how))
    room = 0.06 if "family" in how and how["family"] == "lstm" else 0.02  # an LSTM's kernels round their room up
    assert memory.forecast(run).step(rows) == pytest.approx(direct, rel=room)


def test_scores_in_chunks_bend_the_line_and_are_rehearsed_beyond(text: Text, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nextword.nn.loss.LIMIT_BYTES", 4 * 16 * 60)
    monkeypatch.setattr(memory, "LIMIT_BYTES", 4 * 16 * 60)
    run = begin(text, batch=26)
    assert memory.rehearsed(run, 26) == [3, 6]  # 60 positions are two and a half rows
    assert memory.forecast(run).step(26) == pytest.approx(max(memory.rehearse(run, 26)), rel=0.05)


def test_a_rehearsal_leaves_the_run_as_it_is(text: Text) -> None:
    run = begin(text, batch=4, ema=0.9)
    run.model.train()
    before = {name: tensor.clone() for name, tensor in {**run.model.state_dict(), **run.tensors()}.items()}
    memory.forecast(run)
    for name, tensor in {**run.model.state_dict(), **run.tensors()}.items():
        assert torch.equal(tensor, before[name]), name
    assert all(master.grad is None for master in run.weights.masters.values())


def test_held_and_copies_by_hand(text: Text) -> None:
    run = begin(text, batch=4)
    weights = 4 * sum(tensor.numel() for tensor in run.model.parameters())
    assert memory.held(run) == pytest.approx(3 * weights, abs=6000)  # and the random state, 5,056 bytes
    assert memory.copies(run) == pytest.approx(4 * weights, abs=6000)  # two means, the model, the model in writing


def test_a_batch_beyond_memory_is_refused_with_the_parts_that_fit(
    pretrain: Pretrain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Growth too: what counts is the batch in the end, before the first step."""
    settings = {"batch": 64, "batch_warmup": 4, "sizes": {"width": 32, "depth": 2}}
    monkeypatch.setattr("nextword.core.memory.free", lambda device: 4_000_000)
    with pytest.raises(ResourceError) as error:
        pretrain(tmp_path, **settings)
    message = str(error.value)
    fits = int(message.split("--train.micro_batch=")[1].split(maxsplit=1)[0])
    assert "64 rows of 12 tokens" in message and "gives the same gradient" in message and 1 <= fits < 64
    assert not (tmp_path / "settings.json").exists()
    with pytest.raises(ResourceError):
        pretrain(tmp_path, **settings, micro_batch=fits + 8)
    assert pretrain(tmp_path, **settings, micro_batch=fits).steps == 8, "the advice holds, in the same folder"


def test_where_not_even_a_row_fits(pretrain: Pretrain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nextword.core.memory.free", lambda device: 80_000)
    with pytest.raises(ResourceError, match="shorten --train.length"):
        pretrain(tmp_path)


MEASURE = """
import json, sys, threading, time
import numpy as np, psutil
from nextword.models.create import create
from nextword.models.settings import ModelSettings
from nextword.train import memory
from nextword.train.loop import update
from nextword.train.pretrain import Text, assemble
from nextword.train.settings import TrainSettings

class Row:
    documents, sources = np.array([[99999, 0, 0, 0]]), ("made up",)
    __len__ = lambda self: 99999
    read = lambda self, start, stop: np.arange(start, stop) % 512

run = assemble(create(ModelSettings(width=128, depth=3, heads=2), 512, 1), Text(Row()),
               TrainSettings(steps=3, precision="fp32", **json.loads(sys.argv[1])), "fp32")
update(run, run.feed().take(1), 0.0)  # what is loaded at the first use does not belong to the step
resident, seen, batch = (lambda: psutil.Process().memory_info().rss), [], run.feed().take(run.settings.batch)
before = resident()

def watch():
    while len(seen) < 1 or seen[-1]:
        seen.append(resident())
        time.sleep(0.001)

threading.Thread(target=watch, daemon=True).start()
update(run, batch, 0.0)
measured, rows = max(seen) - before, run.settings.batch
print(json.dumps([memory.SPARE * memory.forecast(run).step(rows), measured]))
"""


@pytest.mark.parametrize("size", [{"batch": 64, "length": 128}, {"batch": 24, "length": 256}], ids=str)
def test_the_forecast_against_the_peak_of_a_process(size: dict) -> None:
    result = subprocess.run(
        [sys.executable, "-c", MEASURE, json.dumps(size)], capture_output=True, text=True, timeout=100, check=True
    )
    expected, measured = json.loads(result.stdout)
    assert measured > 180e6
    assert expected == pytest.approx(measured, rel=0.25)
