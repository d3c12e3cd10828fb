"""How long training stands still for a checkpoint: ours against a synchronous torch.save of the same state.

The state: weights and the optimizer's two means of a 10.6M Llama in the precision that training uses here. Ours ends,
in the background, with every byte flushed to the disk, checksums and a Hugging Face folder; torch.save leaves one file
in the system's cache. The stall is what the training thread waits: in the call, and before the next update until the
copy is made. The note says what the other thread took beside the steps.
"""

import statistics
import tempfile
import time
from pathlib import Path

import torch

from benchmarks.ratio import Ratio, seconds
from benchmarks.training import SMALL, OurTraining, drawn
from nextword.models.checkpoint import write_model
from nextword.train.loop import gradients, update
from nextword.train.saver import Saver

ROUNDS = 7


def write(folder: Path, model: torch.nn.Module) -> None:
    """A model folder, without a tokenizer (characters have a few hundred bytes of it)."""
    folder.mkdir(exist_ok=True)
    write_model(model, folder)


def measure() -> list[Ratio]:
    """One row: seconds of stall."""
    training = OurTraining("llama", SMALL, drawn(SMALL))
    run, rows = training.run, training.rows
    update(run, rows, 1e-3)
    state = {"model": run.model.state_dict(), **run.tensors()}
    size = sum(tensor.nbytes for tensor in [*state["model"].values(), *run.tensors().values()])
    ours, behind, peer = [], [], []
    with tempfile.TemporaryDirectory() as place, Saver(Path(place), write, keep=2) as saver:
        for _ in range(ROUNDS + 1):  # the first makes the buffers
            run.at.step += 1
            began = time.perf_counter()
            stall = seconds(lambda: saver.save(run, state=True, best=False))
            gradients(run, rows)
            ours.append(stall + seconds(run.settle))
            saver.wait()
            behind.append(time.perf_counter() - began)
            run.weights.publish()
            peer.append(seconds(lambda: torch.save(state, Path(place) / "peer.pt")))
    note = f"{size / 1e6:.0f} MB; all of it on the disk after {statistics.median(behind):.2f} s"
    pair = statistics.median(ours[1:]), statistics.median(peer[1:])
    return [Ratio("checkpoint, stall", *pair, "s", "torch.save", 5.0, more_is_better=False, note=note)]
