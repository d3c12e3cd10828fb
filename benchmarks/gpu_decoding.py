"""Decoding one sequence on a GPU: recorded steps against the model's plain ones, transformers, and memory itself.

The Llamas of `decoding` with random weights in bf16. Recorded steps once of PyTorch's own operations and once of those
that `torch.compile` joins; recording and compiling are outside of the timing, and told. Where there is no GPU nothing
is measured.
"""

import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import torch

from benchmarks.decoding import Side, bytes_read, medians, own, random_model
from benchmarks.ratio import Ratio, seconds
from nextword.engine.replay import CompiledRecorder, GraphRecorder, Recorder
from nextword.engine.static import StaticSteps
from nextword.engine.step import PlainSteps
from nextword.models.checkpoint import write_model

TOKENS = 128
READ_BYTES = 1 << 32


def measure() -> list[Ratio]:
    """All rows; none without a GPU."""
    if not torch.cuda.is_available():
        print("there is no GPU here: nothing is measured", file=sys.stderr)
        return []
    return [row for shape in ("125M", "1.1B") for row in compare(shape)]


def compare(shape: str) -> Iterator[Ratio]:
    """The rows of one model."""
    model = random_model(shape, "bf16").to("cuda")
    plain, theirs = own(PlainSteps(model)), transformers(shape)
    graphs = GraphRecorder(torch.device("cuda"))
    ways: dict[str, Recorder] = {"recorded": graphs, "compiled and recorded": CompiledRecorder(graphs)}
    for way, recorder in ways.items():
        ours = own(StaticSteps(model, recorder))
        note = f"first tokens {seconds(partial(ours.decode, 2)):.1f} s"
        for name, peer in (("plain steps", plain), ("transformers bf16", theirs)):
            rates = medians(partial(rate, ours), partial(rate, peer))
            yield Ratio(f"decoding {shape} bf16, {way}", *rates, "tokens/s", name, 1.0, note=note)
        tokens, there = medians(partial(rate, ours), read_bandwidth)
        used = tokens * bytes_read(model) / 1e9
        yield Ratio(f"weights read, {shape}, {way}", used, there, "GB/s", "a sum of an array", 0.5)


def rate(side: Side) -> float:
    """Tokens a second."""
    return TOKENS / side.decode(TOKENS)


def read_bandwidth() -> float:
    """GB a second that a sum over a large array is read at."""
    array = torch.ones(READ_BYTES // 2, dtype=torch.bfloat16, device="cuda")
    float(array.sum())
    return READ_BYTES / min(seconds(lambda: float(array.sum())) for _ in range(3)) / 1e9


def transformers(shape: str) -> Side:
    """transformers' model with its default cache, step by step."""
    from transformers import LlamaForCausalLM

    with tempfile.TemporaryDirectory() as folder:
        write_model(random_model(shape, "bf16"), Path(folder))
        model = LlamaForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).eval().to("cuda")

    @torch.inference_mode()
    def decode(count: int) -> float:
        found = model(torch.arange(100, 108, device="cuda")[None], use_cache=True)
        began = time.perf_counter()
        for _ in range(count):
            token_11 = torch.tensor([[int(found.logits[0, -1].argmax())]], device="cuda")
            found = model(token_11, past_key_values=found.past_key_values, use_cache=True)
        torch.cuda.synchronize()
        return time.perf_counter() - began

    return Side("transformers bf16", decode, lambda: 0.0)
