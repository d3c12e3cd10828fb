"""What training takes, foretold without a number, against a rehearsal with real ones and against the process's peak."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from nextword.core.errors import SettingsError
from nextword.models.create import create
from nextword.models.settings import ModelSettings
from nextword.train import memory
from nextword.train.anticipate import anticipate
from nextword.train.pretrain import Text, assemble
from nextword.train.settings import TrainSettings

VOCABULARY = 500


@pytest.mark.parametrize(
    ("family", "how"),
    [
        ("llama", {}),
        ("llama", {"precision": "bf16"}),
        ("llama", {"micro_batch": 3}),
        ("llama", {"recompute": True}),
        ("gpt2", {"optimizer": "muon"}),
        ("nextword", {"optimizer": "adafactor"}),
    ],
    ids=str,
)
def test_as_a_rehearsal(text: Text, family: str, how: dict) -> None:
    model = create(ModelSettings(family=family, width=48, depth=3, heads=2), VOCABULARY, 0)
    settings = TrainSettings(**{"batch": 6, "length": 48, "precision": "fp32", **how})
    found = anticipate(model.config, settings, settings.precision)
    run = assemble(model, text, settings, settings.precision)
    rows = memory.rows_at_once(run)
    measured = max(memory.rehearse(run, rows, parts=rows < settings.batch))
    assert found.step == pytest.approx(measured, rel=0.05 if settings.recompute else 0.02)
    assert found.held == pytest.approx(memory.held(run), rel=0.01)
    assert found.copies == pytest.approx(memory.copies(run), rel=0.02)


def test_encoders_and_what_has_two_halves(text: Text) -> None:
    sizes = {"width": 32, "depth": 2, "heads": 2}
    short, long = (
        anticipate(
            create(ModelSettings(family=family, **sizes), VOCABULARY, 0, pad_id=0).config,
            TrainSettings(batch=8, length=64),
            "fp32",
        )
        for family in ("bert", "t5")
    )
    assert 0 < short.activations < short.step and 0 < long.activations < long.step


def test_kinds_that_are_not_foretold() -> None:
    for family in ("lstm", "ngram"):
        config = create(ModelSettings(family=family), VOCABULARY, 0).config
        with pytest.raises(SettingsError, match="foretold for transformers"):
            anticipate(config, TrainSettings(), "fp32")


PEAK = """
import json, sys, threading
import numpy as np, psutil, torch
from nextword.core import log
from nextword.models.create import create
from nextword.models.settings import ModelSettings
from nextword.train.loop import gradients
from nextword.train.pretrain import Text, assemble
from nextword.train.settings import TrainSettings

class Ids:
    vocab_size = 8000
    def __len__(self): return 200_000
    def read(self, start, stop): return np.arange(start, stop) * 7919 % 8000

width, depth, batch = map(int, sys.argv[1:])
warm = torch.randn(300, 300) @ torch.randn(300, 300)
before = psutil.Process().memory_info().rss
model = create(ModelSettings(width=width, depth=depth), 8000, 0)
settings = TrainSettings(batch=batch, length=256, precision="fp32")
run = assemble(model, Text(Ids()), settings, "fp32")
for _ in range(3):
    gradients(run, run.feed().take(batch))
    run.weights.gradients()
    run.optimizer.step(1e-4)
    run.weights.publish()
peak = int(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))) * 1024
print(json.dumps({"config": model.config, "taken": peak - before}))
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the peak from /proc")
@pytest.mark.parametrize(("width", "depth", "batch"), [(256, 6, 16), (512, 8, 8), (1024, 6, 4)])
def test_as_the_process_at_its_peak(width: int, depth: int, batch: int) -> None:
    command = [sys.executable, "-c", PEAK, str(width), str(depth), str(batch)]
    exact = os.environ | {"MALLOC_MMAP_THRESHOLD_": "1000000"}  # freed tensors go back to the system, not into holes
    real = json.loads(subprocess.run(command, check=True, capture_output=True, text=True, env=exact).stdout)
    found = anticipate(real["config"], TrainSettings(batch=batch, length=256), "fp32")
    print(f"{width} x {depth}: foretold {found.all / 1e6:.0f} MB, taken {real['taken'] / 1e6:.0f}")
    assert found.all == pytest.approx(real["taken"], rel=0.10)
