"""Decoding one sequence, and reading a prompt: nextword's compiled step against llama.cpp and transformers.

Llamas of 15M, 125M and 1.1B parameters with random weights, in bf16 and quantised to 8 and 4 bits. Decoding is a step
and the likeliest token, over and over, behind 8 tokens; prefill is reading 512 tokens. Both sides use as many threads
as PyTorch does here, run alternately, and the medians are compared. At 1.1B the bytes of the weights that a token
needs are also compared with what memory delivers to a plain sum. Compiling happens once a machine and is outside of the
timing.

llama.cpp is measured where NEXTWORD_LLAMA_PYTHON names the Python of an environment with llama-cpp-python; its files
are made by `nextword convert`'s own writer into NEXTWORD_LLAMA_FILES (a temporary folder if unset). NEXTWORD_DECODING
picks what is measured, such as "15M 1.1B:int4" (all if unset).
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from benchmarks.ratio import Ratio, seconds
from nextword.engine.step import Stepper, stepper
from nextword.models.checkpoint import write_model
from nextword.models.family import Special, find, fresh_config
from nextword.models.gguf import model as gguf
from nextword.models.settings import ModelSettings
from nextword.nn.attention import fast_bfloat16
from nextword.quant.model import Quantisation, empty

VOCABULARY, CONTEXT = 32_000, 1024
SHAPES = {
    "15M": ModelSettings(width=288, depth=6, heads=6, ffn_width=768, max_length=CONTEXT, tied=True),
    "125M": ModelSettings(width=768, depth=12, heads=12, ffn_width=2560, max_length=CONTEXT, tied=False),
    "1.1B": ModelSettings(width=2048, depth=22, heads=32, kv_heads=4, ffn_width=5632, max_length=CONTEXT, tied=False),
}
KINDS = {"bf16": None, "int8": Quantisation(8), "int4": Quantisation(4, 64)}
GGUF = {"bf16": "bf16", "int8": "q8_0", "int4": "q4_0"}  # llama.cpp's of the same bits
WANTED = {  # times llama.cpp
    "15M": {"bf16": 1.5, "int8": 1.5, "int4": 1.5},
    "125M": {"bf16": 0.95, "int8": 1.25, "int4": 1.25},
    "1.1B": {"bf16": 0.95, "int8": 1.1, "int4": 1.15},
}
WANTED_TRANSFORMERS = {"15M": 6.0, "125M": 2.6, "1.1B": 2.6}
TOKENS = {"15M": 256, "125M": 96, "1.1B": 16}  # generated in a round
PROMPT, PREFILL = list(range(100, 108)), list(range(100, 612))
ROUNDS = 5
READ_BYTES = 1 << 29


@dataclass
class Side:
    """One way to decode. decode: seconds for so many tokens. prefill: seconds for 512."""

    name: str
    decode: Callable[[int], float]
    prefill: Callable[[], float]


def measure() -> list[Ratio]:
    """Every shape in every format that is asked for."""
    chosen = os.environ.get("NEXTWORD_DECODING", " ".join(SHAPES)).split()
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(os.environ.get("NEXTWORD_LLAMA_FILES", scratch))
        for choice in chosen:
            shape, _, kind = choice.partition(":")
            for one in [kind] if kind else KINDS:
                for row in compare(shape, one, place):
                    print(f"{row.name}: {row.ours:.4g}, {row.peer_name} {row.peer:.4g} {row.unit}", file=sys.stderr)
                    rows.append(row)
    return rows


def compare(shape: str, kind: str, place: Path) -> Iterator[Ratio]:
    """The rows of one model: against memory itself, then against each peer."""
    model = random_model(shape, kind)
    if not fast_bfloat16():
        model.float()  # as loading does; bf16 numbers are read as bf16 all the same
    began = time.perf_counter()
    ours = own(stepper(model, 10**9, "always"))
    ours.decode(1)
    first = time.perf_counter() - began
    count = TOKENS[shape]
    if shape == "1.1B":
        mine, bandwidth = medians(lambda: bytes_read(model) * count / ours.decode(count), read_bandwidth)
        note = f"first step {first:.1f} s, compiled or loaded"
        rates = mine / 1e9, bandwidth / 1e9
        yield Ratio(f"weights read, {shape} {kind}", *rates, "GB/s", "a sum of an array", 0.85, note=note)
    for peer, wanted in peers(shape, kind, place):
        rates = medians(lambda: count / ours.decode(count), lambda peer=peer: count / peer.decode(count))
        yield Ratio(f"decoding {shape} {kind}", *rates, "tokens/s", peer.name, wanted)
        if shape == "1.1B" and peer.name.startswith("llama"):
            rates = medians(lambda: len(PREFILL) / ours.prefill(), lambda peer=peer: len(PREFILL) / peer.prefill(), 1)
            least = 2.0 if kind == "bf16" else 1.7
            yield Ratio(f"prefill of 512, {shape} {kind}", *rates, "tokens/s", peer.name, least)


def medians(ours: Callable[[], float], theirs: Callable[[], float], rounds: int = ROUNDS) -> tuple[float, float]:
    """Of what both give, called in turn, after one call of each that does not count."""
    ours(), theirs()
    found = [(ours(), theirs()) for _ in range(rounds)]
    return statistics.median(mine for mine, _ in found), statistics.median(other for _, other in found)


def read_bandwidth() -> float:
    """Bytes a second that a sum over a large array is read at, by all threads."""
    array = torch.ones(READ_BYTES // 4)
    array.sum()
    return READ_BYTES / min(seconds(array.sum) for _ in range(3))


def bytes_read(model: nn.Module) -> int:
    """Bytes of weights that one token needs: all but the embedding's other rows, where the output is apart."""
    tensors = {**model.state_dict()}
    if not model.settings.tied:
        tensors = {name: tensor for name, tensor in tensors.items() if not name.startswith("embedding")}
    return sum(tensor.numel() * min(tensor.itemsize, 2) for tensor in tensors.values())  # fp32 is read as bf16


def random_model(shape: str, kind: str) -> nn.Module:
    """A model with random numbers made in place, in the format."""
    config = fresh_config(SHAPES[shape], VOCABULARY, Special())
    with torch.device("meta"):
        model = find("llama", "the benchmark").build(config)
    model = model.to(torch.bfloat16)
    if KINDS[kind] is not None:
        empty(model, KINDS[kind])
    torch.manual_seed(0)
    filled = {name: random_like(name, tensor) for name, tensor in model.state_dict().items()}
    model.load_state_dict(filled, assign=True)
    return model.eval()


def random_like(name: str, tensor: torch.Tensor) -> torch.Tensor:
    """Numbers such as a model has."""
    if not tensor.is_floating_point():
        return torch.randint(-127 if tensor.dtype == torch.int8 else 0, 128, tensor.shape, dtype=tensor.dtype)
    if name.endswith("scales"):
        return torch.full(tensor.shape, 3e-4, dtype=tensor.dtype)
    if tensor.dim() == 1:
        return torch.ones(tensor.shape, dtype=tensor.dtype)
    return torch.empty(tensor.shape, dtype=tensor.dtype).normal_(0, 0.02)


def own(steps: Stepper) -> Side:
    """nextword's steps."""

    def decode(count: int) -> float:
        logits_BV, state = steps.prefill([PROMPT], len(PROMPT) + count)
        began = time.perf_counter()
        for _ in range(count):
            logits_BV, state = steps.step([int(logits_BV[0].argmax())], state)
        return time.perf_counter() - began

    return Side("nextword", decode, lambda: seconds(lambda: steps.prefill([PREFILL], len(PREFILL) + 8)))


def peers(shape: str, kind: str, place: Path) -> Iterator[tuple[Side, float]]:
    """llama.cpp with the same bits, where there is one; transformers, in bf16's rows."""
    python = os.environ.get("NEXTWORD_LLAMA_PYTHON")
    if python is None:
        print("llama.cpp is not measured: NEXTWORD_LLAMA_PYTHON names no Python that has it", file=sys.stderr)
    else:
        yield from llama_cpp(python, shape, kind, place)
    if kind == "bf16":
        yield from transformers(shape)


def llama_cpp(python: str, shape: str, kind: str, place: Path) -> Iterator[tuple[Side, float]]:
    """llama.cpp in a process of its own, asked through pipes."""
    file = place / f"{shape}-{GGUF[kind]}.gguf"
    if not file.exists():
        write_gguf(file, shape, GGUF[kind])
    script = Path(__file__).with_name("llama_peer.py")
    command = [python, str(script), str(file), str(torch.get_num_threads())]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:

        def ask(*question: object) -> float:
            process.stdin.write(json.dumps(question) + "\n")
            process.stdin.flush()
            return json.loads(process.stdout.readline())

        assert json.loads(process.stdout.readline()) == "ready"
        prefill = lambda: ask("prefill", PREFILL)  # noqa: E731
        yield Side(f"llama.cpp {GGUF[kind]}", lambda count: ask("decode", PROMPT, count), prefill), WANTED[shape][kind]
        process.stdin.close()


def write_gguf(file: Path, shape: str, kind: str) -> None:
    """A file of the same shape with random weights and the least of a vocabulary that llama.cpp accepts."""
    model = random_model(shape, "bf16")
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    tokens += [f"t{number}" for number in range(VOCABULARY - len(tokens))]
    kinds = [2, 3, 3, *[6] * 256, *[1] * (VOCABULARY - 259)]
    values = {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.scores": np.zeros(VOCABULARY, np.float32),
        "tokenizer.ggml.token_type": np.array(kinds, np.int32),
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    gguf.write(file, model, kind, values)


def transformers(shape: str) -> Iterator[tuple[Side, float]]:
    """transformers' model with its default cache, in bf16 and in fp32, step by step as the others."""
    from transformers import LlamaForCausalLM

    with tempfile.TemporaryDirectory() as folder:
        write_model(random_model(shape, "bf16"), Path(folder))
        for dtype, name in ((torch.bfloat16, "bf16"), (torch.float32, "fp32")):
            peer = LlamaForCausalLM.from_pretrained(folder, dtype=dtype).eval()
            yield (
                Side(f"transformers {name}", lambda count, peer=peer: steps_of(peer, count), lambda: 0.0),
                (WANTED_TRANSFORMERS[shape]),
            )


@torch.inference_mode()
def steps_of(model: nn.Module, count: int) -> float:
    """Seconds for `count` greedy tokens after the prompt."""
    found = model(torch.tensor([PROMPT]), use_cache=True)
    began = time.perf_counter()
    for _ in range(count):
        token_11 = found.logits[:, -1:].argmax(-1)
        found = model(token_11, past_key_values=found.past_key_values, use_cache=True)
    return time.perf_counter() - began
