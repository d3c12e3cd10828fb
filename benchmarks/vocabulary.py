"""Training with a large vocabulary: speed, and the memory that a step takes, against a peer that holds all logits.

GPT-2 with 6 layers, width 384 and 50,304 tokens (30M parameters, two thirds of them embedding), 8 rows of 256. All
logits at once are 0.4 GB in fp32, and the peer holds them several times: logits, log-probabilities, their gradients.
Peak memory is measured in a process of its own: the most that it held, less what it held after all imports.
"""

import gc
import subprocess
import sys

import psutil
import torch

from benchmarks.peers import AUTOCAST, PeerTraining, Sizes
from benchmarks.ratio import Ratio
from benchmarks.training import CPU, OurTraining, against, drawn
from nextword.core.meter import peak_memory
from nextword.train.precision import choose

LARGE = Sizes(batch=8, vocabulary=50_304)
STEPS = 2  # the second finds the optimizer's memory in place


def measure() -> list[Ratio]:
    """Two rows; the peer computes in bf16 (autocast) where we do, else in fp32."""
    ids = drawn(LARGE)
    ours = OurTraining("gpt2", LARGE, ids)
    autocast = ours.precision == "bf16"
    speed = against(ours, "gpt2", LARGE, ids, autocast, 1.5)
    del ours
    mine, theirs = (memory(side, autocast) for side in ("ours", "peer"))
    peer = f"transformers, {AUTOCAST[autocast]}"
    note = "peak of a process less that after imports; wanted: half"
    return [speed, Ratio(f"{speed.name}, memory", mine, theirs, "MB", peer, 2.0, more_is_better=False, note=note)]


def memory(side: str, autocast: bool) -> float:
    """MB that training takes in a fresh process."""
    command = [sys.executable, "-m", "benchmarks.vocabulary", side, str(int(autocast)), str(torch.get_num_threads())]
    return float(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def main(side: str, autocast: bool) -> None:
    """Prints the MB of one side's training: weights, optimizer and a step's tensors."""
    choose("auto", CPU)  # its trial products are no part of training
    PeerTraining("gpt2", Sizes(1, 1, 8, 8, 2, 1, 2), torch.zeros(1, 3, dtype=torch.int64), False).step()
    gc.collect()
    before = psutil.Process().memory_info().rss
    ids = drawn(LARGE)
    training = OurTraining("gpt2", LARGE, ids) if side == "ours" else PeerTraining("gpt2", LARGE, ids, autocast)
    for _ in range(STEPS):
        training.step()
    print((peak_memory(CPU) - before) / 1e6)


if __name__ == "__main__":
    torch.set_num_threads(int(sys.argv[3]))
    main(sys.argv[1], bool(int(sys.argv[2])))
