"""What a run will take, before it starts: parameters, memory, disk, time.

The figures follow from the description alone, with three rules of thumb that are named below and a matrix product that
is timed here:

    time of training = FLOPs a token · tokens / (measured FLOP/s · share of it that training reaches)
    memory = weights, gradients, masters and two Adam moments + what the backward pass needs + the process itself
    disk = tokens + checkpoints kept + best and finished model
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from nextword.core import device
from nextword.core.errors import ResourceError
from nextword.core.files import free_bytes
from nextword.core.progress import duration, quantity
from nextword.models.count import count, describe
from nextword.models.family import Special, fresh_config
from nextword.recipes import sources
from nextword.recipes.run_settings import RunSettings
from nextword.recipes.stages import Stage, Status
from nextword.text.split import split

# Rules of thumb, measured on the demo and on tinyshakespeare.
BYTES_PER_TOKEN = {"character": 1.0, "byte": 1.0, "character-ngram": 3.0, "word": 5.5}
SUBWORD_BYTES = 3.5
REACHED = 0.5  # share of the rate of large matrix products that training a small model reaches
PROCESS_BYTES = 500 << 20  # Python, PyTorch and their libraries
FLOAT = 4
ADAM_STATES = 2
KEPT_FOR_BACKWARD = 18  # numbers of width D that a pre-norm gated block keeps for each position
DEPTHS = ("num_hidden_layers", "n_layer", "num_layers")  # as families call them in config.json
WIDTHS = ("hidden_size", "n_embd", "d_model")
FLOAT_FORMATS = ("fp32", "bf16")


@dataclass(frozen=True)
class Forecast:
    """Text bytes and tokens; parameters; bytes of memory and disk; seconds of training."""

    text_bytes: int
    tokens: float
    parameters: int | None
    memory: float
    disk: float
    seconds: float


def text_bytes(settings: RunSettings) -> int:
    """UTF-8 bytes of all text, by reading it (as the split does anyway); raises DataError where there is none."""
    plan = split(lambda: sources.open_documents(settings.text), settings.split)
    return plan.characters


def forecast(settings: RunSettings) -> Forecast:
    """Counts, measures and multiplies."""
    characters = text_bytes(settings)
    tokens = characters / BYTES_PER_TOKEN.get(settings.tokenizer.kind, SUBWORD_BYTES)
    vocab_size = settings.tokenizer.vocab_size or (100 if settings.tokenizer.kind == "character" else 4096)
    config = fresh_config(settings.model, vocab_size, Special(0, 0, 0))
    token_bytes = 2 if vocab_size <= 1 << 16 else FLOAT
    train = settings.train
    if settings.model.family == "ngram":  # counting: one pass, a table of what was seen
        return Forecast(characters, tokens, None, PROCESS_BYTES + 60 * tokens, 30 * tokens, tokens / 1e6)
    figures = count(describe(config), train.length)
    place = device.choose(train.device)
    rate = max(device.product_rate(name, place) for name in FLOAT_FORMATS)
    trained = train.steps * train.batch * train.length
    weights = figures.parameters * FLOAT
    rows = train.micro_rows * train.length
    depth = next((config[key] for key in DEPTHS if key in config), 1)
    blocks = depth * next((config[key] for key in WIDTHS if key in config), 0)
    backward = rows * (blocks * KEPT_FOR_BACKWARD + 2 * vocab_size) * FLOAT
    return Forecast(
        text_bytes=characters,
        tokens=tokens,
        parameters=figures.parameters,
        memory=PROCESS_BYTES + weights * (2 + ADAM_STATES) + backward,
        disk=tokens * token_bytes + weights * ((1 + ADAM_STATES) * train.keep + 2),
        seconds=min(trained * figures.flops_training / (rate * REACHED), train.max_seconds),
    )


def show(settings: RunSettings, out: Path, plan: Sequence[tuple[Stage, str, Status]]) -> None:
    """Prints the stages with what will happen to each, then the forecast."""
    table = Table("stage", "what will happen", box=None, padding=(0, 2, 0, 0))
    will = {"finished": "skipped, done before", "unfinished": "goes on", "changed": "redone", "new": "done"}
    redo = False
    for stage, _, status in plan:
        redo = redo or status != "finished"
        table.add_row(stage.name, "redone" if redo and status == "finished" else will[status])
    console = Console()
    console.print(table)
    expected = forecast(settings)
    size = "a table of counts" if expected.parameters is None else f"{quantity(expected.parameters)} parameters"
    print(f"\nmodel     {settings.model.family}, {size}")
    print(f"text      {quantity(expected.text_bytes)} characters, about {quantity(expected.tokens)} tokens")
    print(f"memory    about {expected.memory / 1e9:.1f} GB")
    print(f"disk      about {expected.disk / 1e6:.0f} MB in {out}, {free_bytes(out) / 1e9:.0f} GB free")
    print(f"training  about {duration(expected.seconds)} on {device.describe(torch.device('cpu'))}")
    if expected.disk > free_bytes(out):
        raise ResourceError(
            f"{out} has {free_bytes(out) / 1e6:.0f} MB free and the run needs {expected.disk / 1e6:.0f}"
        )
    print("\nnothing was done; run the same command without --dry-run to start", file=sys.stderr)
