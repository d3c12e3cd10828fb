"""Decoding one sequence: nextword's compiled step against transformers' `generate` on the same bf16 model.

A Llama of 125M parameters with random weights, 8 tokens of prompt, 256 new ones, greedy. Compiling the step happens
once a machine and is outside of the timing; the note says how long it took here. The second row compares with
transformers in fp32, which on processors without bf16 products is its faster way. Where a peer would need minutes, both
generate fewer tokens, and the note says how many.
"""

import tempfile
from collections.abc import Callable

import torch

from benchmarks.ratio import Ratio, alternate, seconds
from nextword.decode.settings import SamplingSettings
from nextword.engine.generate import generate
from nextword.engine.request import Request
from nextword.engine.step import stepper
from nextword.models.checkpoint import load_model, save_model
from nextword.models.create import create
from nextword.models.settings import ModelSettings

SIZES = ModelSettings(width=768, depth=12, heads=12, ffn_width=2560, max_length=1024, tied=False)  # 126M parameters
VOCABULARY = 32_000
PROMPT = tuple(range(100, 108))
TOKENS = 256
FEWER_TOKENS = 32
SLOW = 10.0  # tokens/s of a peer below which fewer tokens have to do
ROUNDS = 3

Decode = Callable[[int], object]  # generates so many tokens


def measure() -> list[Ratio]:
    """Tokens a second, ours and transformers', in bf16 and in fp32."""
    from transformers import LlamaForCausalLM

    with tempfile.TemporaryDirectory() as folder:
        save_model(create(SIZES, VOCABULARY, seed=0).to(torch.bfloat16), folder)
        ours, first = decoder(load_model(folder))
        rows = []
        for dtype, name in ((torch.bfloat16, "transformers bf16"), (torch.float32, "transformers fp32")):
            theirs = peer(LlamaForCausalLM.from_pretrained(folder, dtype=dtype).eval())
            rows.append(compare(ours, theirs, name, f"first step {first:.1f} s, compiled or loaded"))
    return rows


def decoder(model: torch.nn.Module) -> tuple[Decode, float]:
    """Our decoding, and the seconds that its first step took (compiling, or loading what is compiled)."""
    steps = stepper(model, TOKENS, "always")

    def decode(count: int) -> object:
        return generate(model, [Request(PROMPT, SamplingSettings(max_tokens=count, temperature=0))], steps)

    return decode, seconds(lambda: decode(1))


def peer(model: torch.nn.Module) -> Decode:
    """transformers' own generation loop, greedy, with its default cache."""
    ids = torch.tensor([PROMPT])
    model.generation_config.eos_token_id = None
    settings = {"attention_mask": torch.ones_like(ids), "do_sample": False, "pad_token_id": 0}
    return lambda count: model.generate(ids, max_new_tokens=count, min_new_tokens=count, **settings)


def compare(ours: Decode, theirs: Decode, name: str, note: str) -> Ratio:
    """One row of the table."""
    trial = seconds(lambda: theirs(4)) / 4
    count = TOKENS if 1 / trial > SLOW else FEWER_TOKENS
    mine, other = alternate(lambda: ours(count), lambda: theirs(count), ROUNDS)
    what = "decoding, 125M bf16, one sequence"
    return Ratio(what, count / mine, count / other, "tokens/s", name, 2.0, note=f"{count} tokens; {note}")
