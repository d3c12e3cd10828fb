"""Tokenising against the `tokenizers` library used directly, and memory against the length of the file.

Both read the same file of tiny documents made by repetition and end with ids. The peer is the library in the faster of
two ways: two processes that each encode half of the documents, or one process with the library's own threads. Ours
reads, splits, encodes and writes checksummed shards: more work in the same race.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from pydoc_data import topics

from benchmarks.ratio import Ratio, alternate

SEPARATOR = "\n\n"
VOCAB_SIZE = 4096
PROCESSES = 2
BIG, SMALL = 100_000_000, 20_000_000  # bytes; NEXTWORD_BENCH_MB changes the first

PEER = """
import multiprocessing, sys, time
from tokenizers import Tokenizer

def encode(job):
    path, start, step = job
    tokenizer = Tokenizer.from_file(sys.argv[2])
    texts = open(path, encoding="utf-8").read().split("\\n\\n")[start::step]
    total = 0
    for first in range(0, len(texts), 4096):
        for found in tokenizer.encode_batch_fast(texts[first : first + 4096], add_special_tokens=False):
            total += len(found.ids)
    return total

if __name__ == "__main__":
    processes = int(sys.argv[3])
    jobs = [(sys.argv[1], place, processes) for place in range(processes)]
    if processes == 1:
        print(encode(jobs[0]))
    else:
        with multiprocessing.get_context("spawn").Pool(processes) as pool:
            print(sum(pool.map(encode, jobs)))
"""


def measure() -> list[Ratio]:
    """MB/s against the library, and peak memory on a large file against that on a small one."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        big = write(folder / "big.txt", int(float(os.environ.get("NEXTWORD_BENCH_MB", BIG / 1e6)) * 1e6))
        small = write(folder / "small.txt", min(SMALL, big.stat().st_size // 5))
        train(folder, small)
        (folder / "peer.py").write_text(PEER)
        rows = [speed(folder, big, processes) for processes in (PROCESSES, 1)]
        slowest = min(rows, key=lambda row: row.ratio)  # against the faster of the two ways
        return [slowest, memory(folder, small, big)]


def write(path: Path, size: int) -> Path:
    """A file of at least `size` bytes: the prose that every Python carries, again and again."""
    prose = SEPARATOR.join(text for _, text in sorted(topics.topics.items())) + SEPARATOR
    with path.open("w", encoding="utf-8") as file:
        for _ in range(size // len(prose.encode()) + 1):
            file.write(prose)
    return path


def train(folder: Path, text: Path) -> None:
    """The tokenizer of both sides."""
    command = ["tokenizer", "train", "--text", str(text), "--separator", SEPARATOR, "--vocab-size", str(VOCAB_SIZE)]
    nextword(*command, "--out", str(folder / "tokenizer"), "--quiet")


def nextword(*arguments: str) -> None:
    """Runs the command line."""
    subprocess.run([sys.executable, "-m", "nextword.cli", *arguments], check=True, stdout=subprocess.DEVNULL)


def tokenize(folder: Path, text: Path) -> Callable[[], None]:
    """Our side of the race: the command as a user types it."""
    command = ["tokenize", "--text", str(text), "--separator", SEPARATOR, "--tokenizer", str(folder / "tokenizer")]
    return lambda: nextword(*command, "--out", str(folder / "tokens"), "--workers", str(PROCESSES), "--quiet")


def speed(folder: Path, text: Path, processes: int) -> Ratio:
    """Ours against the library in so many processes (one: with its own threads)."""
    file = str(folder / "tokenizer" / "tokenizer.json")
    command = [sys.executable, str(folder / "peer.py"), str(text), file, str(processes)]
    threads = "true" if processes == 1 else "false"
    environment = {**os.environ, "TOKENIZERS_PARALLELISM": threads, "RAYON_NUM_THREADS": str(PROCESSES)}

    def peer() -> None:
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)

    seconds = alternate(tokenize(folder, text), peer, rounds=1)
    size = text.stat().st_size / 1e6
    how = f"{PROCESSES} threads" if processes == 1 else f"{processes} processes"
    name = f"tokenising {size:.0f} MB, byte-level BPE of {VOCAB_SIZE:,}"
    note = "ours also splits, writes and checks"
    return Ratio(name, size / seconds[0], size / seconds[1], "MB/s", f"tokenizers, {how}", 1.0, note=note)


def memory(folder: Path, small: Path, big: Path) -> Ratio:
    """Peak memory of the largest process, small file against big: 1 is flat."""
    peaks = [peak(folder, text) for text in (small, big)]
    name = f"peak memory, {big.stat().st_size / 1e6:.0f} MB against {small.stat().st_size / 1e6:.0f} MB"
    return Ratio(name, peaks[1], peaks[0], "MB", "the small file", 0.9, more_is_better=False)


def peak(folder: Path, text: Path) -> float:
    """MB that the largest process of a tokenisation held at its peak, measured in a process of its own."""
    code = (
        "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL); "
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    command = ["tokenize", "--text", str(text), "--separator", SEPARATOR, "--tokenizer", str(folder / "tokenizer")]
    command += ["--out", str(folder / "tokens"), "--workers", str(PROCESSES), "--quiet"]
    line = [sys.executable, "-c", code, sys.executable, "-m", "nextword.cli", *command]
    found = subprocess.run(line, check=True, capture_output=True, text=True).stdout
    return float(found) / (1024 if sys.platform == "linux" else 1 << 20)
