"""`nextword inspect`: what a model weighs and what a token costs, as tables or as JSON."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from torch import nn

from nextword.assembly.folder import locate
from nextword.core.errors import CheckpointError
from nextword.core.files import read_json
from nextword.models.checkpoint import load_config
from nextword.models.count import FLOAT_BYTES, Count, count, describe
from nextword.models.family import Storable, note_of
from nextword.models.gguf import container
from nextword.models.gguf.model import config_of
from nextword.quant import files
from nextword.quant.model import Quantisation, empty
from nextword.recipes import inspect_memory
from nextword.recipes.inspect_settings import InspectSettings

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30


def main(settings: InspectSettings) -> None:
    """Prints the figures of the model that the settings name."""
    path = locate(settings.model, weights=False)
    config, quantisation = files.described(read_config(path))
    model = describe(config, str(path))
    figures = count(model, settings.length)
    needs = inspect_memory.needs(config, figures, settings) if settings.memory else None
    few = None if quantisation is None else stored(model, quantisation)
    if settings.json:
        further = {"memory": needs, "quantised": few}
        print(json.dumps(tree(config, figures) | {key: x for key, x in further.items() if x is not None}, indent=2))
        return
    console = Console()
    console.print(parts_table(config, figures))
    console.print(costs_table(figures))
    if few is not None:
        bits, size = few["bits_per_weight"], binary(int(few["weights_bytes"]))
        print(f"quantised: {bits:.2f} bits a weight in the layers, scales included; all weights {size} as stored")
    if needs is not None:
        console.print(inspect_memory.table(needs))
    if note := note_of(config):
        print(f"note: {note}")
    if path.is_dir():
        print(f"next: {following(model.kind, settings.model)}")


def stored(model: Storable, quantisation: Quantisation) -> dict[str, float]:
    """What a quantised model takes, by its description, whose layers are changed."""
    assert isinstance(model, nn.Module)
    empty(model, quantisation)
    return {"bits_per_weight": files.bits_of(model), "weights_bytes": files.stored_bytes(model)}


def following(kind: str, model: str) -> str:
    """What one may type next with a model of that kind."""
    if kind == "encoder":
        return f"""python -c 'import nextword; print(nextword.load("{model}").fill("The [MASK] sat on the mat."))'"""
    return f'nextword generate {model} "Once upon a time"'


def read_config(path: Path) -> dict[str, Any]:
    """The config of a model folder, of a GGUF file, or of a config.json that stands alone."""
    if not path.is_file():
        return load_config(path)
    if container.is_gguf(path):
        return config_of(container.read(path))
    config = read_json(path, CheckpointError)
    if not isinstance(config, dict):
        raise CheckpointError(f"{path} must hold a JSON object, received {type(config).__name__}")
    return config


def tree(config: dict[str, Any], figures: Count) -> dict[str, Any]:
    """The figures for a script: numbers without units in their values, units in their names."""
    return {
        "model_type": config["model_type"],
        "parameters": figures.parameters,
        "parameters_active": figures.active,
        "parameters_by_part": figures.by_part,
        "parameters_without_embeddings": figures.without_embeddings,
        "length": figures.length,
        "flops_per_token_forward": figures.flops_forward,
        "flops_per_token_training": figures.flops_training,
        "weights_bytes": {kind: figures.weight_bytes(kind) for kind in FLOAT_BYTES},
        "state_bytes_per_token": {kind: figures.state_bytes(1, kind) for kind in FLOAT_BYTES},
        "state_bytes_fixed": {kind: figures.fixed_state_bytes(kind) for kind in FLOAT_BYTES},
    }


def parts_table(config: dict[str, Any], figures: Count) -> Table:
    """Parameters by part, with their share."""
    table = Table("part", box=box.SIMPLE_HEAD, title=f"{config['model_type']}: parameters", title_justify="left")
    table.add_column("parameters", justify="right")
    table.add_column("share", justify="right")
    for part, size in figures.by_part.items():
        table.add_row(part, f"{size:,}", f"{100 * size / max(figures.parameters, 1):.1f} %")
    table.add_section()
    table.add_row("all", f"{figures.parameters:,}", "")
    if figures.active != figures.parameters:
        table.add_row("active for a token", f"{figures.active:,}", f"{100 * figures.active / figures.parameters:.1f} %")
    table.add_row("without embeddings (N)", f"{figures.without_embeddings:,}", "")
    return table


def costs_table(figures: Count) -> Table:
    """FLOPs and bytes, in units that can be read."""
    title = "costs" if figures.length is None else f"costs, for texts of {figures.length:,} tokens"
    table = Table("what", box=box.SIMPLE_HEAD, title=title, title_justify="left")
    table.add_column("figure", justify="right")
    if figures.flops_forward:
        table.add_row("FLOPs a token, forward (mean over positions)", scaled(figures.flops_forward))
        table.add_row("FLOPs a token, training (3 x forward)", scaled(figures.flops_training))
    rows: dict[str, Callable[[str], int]] = {
        "weights": figures.weight_bytes,
        "state, for each token": lambda kind: figures.state_bytes(1, kind),
        "state, once a sequence": figures.fixed_state_bytes,
    }
    for what, measure in rows.items():
        sizes = {kind: measure(kind) for kind in FLOAT_BYTES}
        if len(set(sizes.values())) == 1:  # integers: the same whatever the weights' type
            if any(sizes.values()):
                table.add_row(what, binary(sizes["fp32"]))
        else:
            for kind, size in sizes.items():
                table.add_row(f"{what}, {kind}", binary(size))
    return table


def scaled(number: float) -> str:
    """A large count with its unit.

    >>> scaled(28_710_912)
    '28.7 MFLOP'
    """
    for unit, size in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= size:
            return f"{number / size:.1f} {unit}FLOP"
    return f"{number:.0f} FLOP"


def binary(size: int) -> str:
    """Bytes in powers of 1024.

    >>> binary(524_288)
    '512.0 KiB'
    """
    for unit, factor in (("GiB", GIB), ("MiB", MIB), ("KiB", KIB)):
        if size >= factor:
            return f"{size / factor:.1f} {unit}"
    return f"{size} B"
