"""From a folder of 1.1B parameters to the first token: ours against transformers, each time in a fresh process.

The folder holds random weights in the shape of TinyLlama; the prompt has 8 tokens. "With imports" is what whoever types
a command waits for; without them the clock starts when the libraries stand. transformers loads as it does by default
(the stored type); where it computes in bf16 and we in fp32 (a CPU without bf16 instructions), its fp32 is measured too.
We load as `nextword.load` does, and step as for a text of TOKENS tokens: plainly, or compiled if that pays. Files are
in the system's cache, or nowhere near it ("from the disk", where the system lets us empty the cache). Memory is the
peak above what stood after the imports, over the bytes of the weights as they are held.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from safetensors.torch import save_file

from benchmarks.ratio import Ratio
from nextword.assembly.folder import fast_type

ROUNDS = 3
TOKENS = 32
CACHE = Path("/proc/sys/vm/drop_caches")
LAYERS, WIDTH, FFN, HEADS, KV_HEADS, VOCABULARY = 22, 2048, 5632, 32, 4, 32_000
WANTED, MEMORY = 3.0, 1.1

OURS = f"""
from nextword.assembly.folder import load_model
from nextword.engine.step import stepper
def first(folder, dtype):
    model = load_model(Path(folder))
    logits, _ = stepper(model, {TOKENS}).prefill([list(range(5, 13))], 8 + {TOKENS})
    return logits[0].argmax(), model
"""
PEER = """
import transformers
from transformers import AutoModelForCausalLM, LlamaForCausalLM
transformers.utils.logging.disable_progress_bar()
def first(folder, dtype):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)
    with torch.inference_mode():
        return model(torch.arange(5, 13)[None]).logits[0, -1].argmax(), model
"""
TIMED = """
import time
began = time.perf_counter()
import sys, json, torch
from pathlib import Path
{side}
def memory(key):
    return int(Path("/proc/self/status").read_text().split(key + ":")[1].split()[0]) * 1024
measured = sys.platform == "linux"
if measured:
    Path("/proc/self/clear_refs").write_text("5")
    before = memory("VmRSS")
imported = time.perf_counter()
token, model = first(sys.argv[1], sys.argv[2])
found = {{"token": int(token), "alone": time.perf_counter() - imported, "whole": time.perf_counter() - began}}
size = sum(weight.nbytes for weight in model.parameters())
print(json.dumps(found | {{"memory": (memory("VmHWM") - before) / size if measured else 0.0}}))
"""


def measure() -> list[Ratio]:
    """Seconds with and without imports for bf16 and fp32 files, and memory."""
    rows = []
    with tempfile.TemporaryDirectory() as place:
        for dtype in (torch.bfloat16, torch.float32):
            folder = write(Path(place) / "model", dtype)
            name = str(dtype).removeprefix("torch.")
            computed = str(fast_type(dtype, "cpu")).removeprefix("torch.")
            rows += compare(folder, name, name, "in the cache")
            if computed != name:
                rows += compare(folder, name, computed, "in the cache")[:2]
            if os.access(CACHE, os.W_OK):
                rows += compare(folder, name, name, "from the disk")[:2]
    return rows


def write(folder: Path, dtype: torch.dtype) -> Path:
    """A folder of the shape of TinyLlama."""
    folder.mkdir(exist_ok=True)
    shapes = {"model.embed_tokens": (VOCABULARY, WIDTH), "model.norm": (WIDTH,), "lm_head": (VOCABULARY, WIDTH)}
    narrow = KV_HEADS * WIDTH // HEADS
    layer = {
        **{"input_layernorm": (WIDTH,), "post_attention_layernorm": (WIDTH,)},
        **{"self_attn.q_proj": (WIDTH, WIDTH), "self_attn.o_proj": (WIDTH, WIDTH)},
        **{"self_attn.k_proj": (narrow, WIDTH), "self_attn.v_proj": (narrow, WIDTH)},
        **{"mlp.gate_proj": (FFN, WIDTH), "mlp.up_proj": (FFN, WIDTH), "mlp.down_proj": (WIDTH, FFN)},
    }
    shapes |= {f"model.layers.{n}.{name}": shape for n in range(LAYERS) for name, shape in layer.items()}
    generator = torch.Generator().manual_seed(0)
    drawn = {f"{name}.weight": torch.randn(shape, generator=generator) * 0.02 for name, shape in shapes.items()}
    tensors = {name: tensor.to(dtype) for name, tensor in drawn.items()}
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    config = {
        **{"model_type": "llama", "architectures": ["LlamaForCausalLM"], "dtype": str(dtype).removeprefix("torch.")},
        **{"hidden_size": WIDTH, "intermediate_size": FFN, "num_hidden_layers": LAYERS, "vocab_size": VOCABULARY},
        **{"num_attention_heads": HEADS, "num_key_value_heads": KV_HEADS, "tie_word_embeddings": False},
    }
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def compare(folder: Path, stored: str, peer: str, where: str) -> list[Ratio]:
    """Both sides alternately; the peer computes in `peer`."""
    found: tuple[list[dict[str, float]], list[dict[str, float]]] = ([], [])
    for _ in range(ROUNDS):
        for side, code in zip(found, (OURS, PEER), strict=True):
            cache(folder, where)
            line = [sys.executable, "-c", TIMED.format(side=code), str(folder), peer]
            run = subprocess.run(line, check=True, capture_output=True, text=True)
            side.append(json.loads(run.stdout.splitlines()[-1]))
    ours, theirs = ({key: statistics.median(one[key] for one in side) for key in side[0]} for side in found)
    agree = "the same token" if ours["token"] == theirs["token"] else "ANOTHER TOKEN"
    name, who = f"1.1B in {stored}, {where}: first token", f"transformers, {peer}"
    rows = [
        Ratio(f"{name}, with imports", ours["whole"], theirs["whole"], "s", who, WANTED, False, agree),
        Ratio(f"{name}, without", ours["alone"], theirs["alone"], "s", who, WANTED, False),
    ]
    if ours["memory"]:
        title, note = f"peak memory of {stored} over the weights", f"theirs {theirs['memory']:.2f}x"
        rows.append(Ratio(title, ours["memory"], MEMORY, "x", "wanted at most", 1.0, False, note))
    return rows


def cache(folder: Path, where: str) -> None:
    """Reads the file once, or makes the system forget it."""
    os.sync()
    if where == "from the disk":
        CACHE.write_text("3")
    else:
        with (folder / "model.safetensors").open("rb") as file:
            while file.read(1 << 24):
                pass
