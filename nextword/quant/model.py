"""A whole model in few bits: the matrices of its layers, and in 8 bits its embedding and output.

Left as they are: norms, biases, positions, heads for tasks, routers of experts, and matrices of fewer than NARROW
inputs (gates), which are a thousandth of a model. Embedding and output suffer most from few bits and keep 8 (or all,
if asked).
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

from nextword.core.errors import CheckpointError, SettingsError
from nextword.models.family import QUANTISED, Storable
from nextword.nn.half import widen
from nextword.nn.moe import Router
from nextword.quant import table
from nextword.quant.linear import QuantisedLinear, shrink

NARROW = 32
METHOD, VERSION = "nextword", 1  # in config.json; other tools refuse a method that they do not know
BITS = (4, 8)
GROUPS = (32, 64, 128)
PLAIN = 16  # `edges` that are left as they are


@dataclass(frozen=True)
class Quantisation:
    """What was done to a model. group: weights that share a scale, with 4 bits. edges: bits of embedding and output."""

    bits: int
    group: int | None = None
    edges: int = table.BITS

    def tree(self) -> dict[str, Any]:
        """The value of `quantization_config`."""
        return {"quant_method": METHOD, "version": VERSION, **asdict(self)}


def read(config: dict[str, Any]) -> Quantisation | None:
    """What a config.json says; None where the model is not quantised, CheckpointError where another tool did it."""
    tree = config.get(QUANTISED)
    if tree is None:
        return None
    method = tree.get("quant_method") if isinstance(tree, dict) else None
    if method != METHOD:
        raise CheckpointError(
            f"config.json: the weights were quantised by {method!r}, which nextword does not read: get the model "
            "in bf16 or as GGUF, then `nextword quantize` it"
        )
    found = {key: value for key, value in tree.items() if key not in {"quant_method", "version"}}
    try:
        quantisation = Quantisation(**found)
    except TypeError:
        raise CheckpointError(f"config.json: {QUANTISED} has unknown keys: {', '.join(sorted(found))}") from None
    known = quantisation.bits in BITS and quantisation.edges in {PLAIN, table.BITS}
    if tree.get("version") != VERSION or not known or (quantisation.bits == 4) != (quantisation.group in GROUPS):
        raise CheckpointError(f"config.json: {QUANTISED} is {tree}, which this version of nextword does not read")
    return quantisation


def matrices(model: nn.Module) -> Iterator[tuple[str, nn.Linear]]:
    """The linear layers inside of blocks that are to be quantised, by name."""
    for name, module in model.named_modules():
        fits = isinstance(module, nn.Linear) and module.in_features >= NARROW and not isinstance(module, Router)
        if fits and "blocks" in name.split("."):
            yield name, module


def put(model: nn.Module, name: str, layer: nn.Module) -> None:
    """Puts a layer in the place of the one of that name."""
    parent, _, own = name.rpartition(".")
    setattr(model.get_submodule(parent), own, layer)


def prepare(model: Storable) -> nn.Module:
    """The model, which must have layers that can be quantised; SettingsError where it has none, or is already."""
    if not isinstance(model, nn.Module) or not any(True for _ in matrices(model)):
        why = "has no layers of a transformer" if of(model) is None else "is quantised already"
        raise SettingsError(f"this model {why}: give a transformer in fp32, fp16 or bf16")
    return model


def quantise(model: Storable, wanted: Quantisation) -> Iterator[str]:
    """Quantises a model in place, layer by layer, and yields the name of each that is done; rounding to nearest."""
    whole = prepare(model)
    for name, linear in list(matrices(whole)):
        put(whole, name, shrink(linear, wanted.bits, wanted.group))
        yield name
    yield from quantise_edges(whole, wanted)


def quantise_edges(model: nn.Module, wanted: Quantisation) -> Iterator[str]:
    """Embedding and output, where they are to be; what stays as it is gets one type."""
    widen(model)
    if wanted.edges == table.BITS:
        for name, module in list(model.named_modules()):
            if type(module) in table.CODED and module.weight is not None:  # a tied head has no matrix of its own
                table.shrink(module)
                yield name


def of(model: object) -> Quantisation | None:
    """What was done to a model, if anything."""
    if not isinstance(model, nn.Module):
        return None
    layers = list(model.modules())
    for layer in layers:
        if isinstance(layer, QuantisedLinear):
            coded = any(isinstance(one, table.Coded) for one in layers)
            bits = layer.form.bits
            return Quantisation(bits, layer.group if layer.form.grouped else None, table.BITS if coded else PLAIN)
    return None


def empty(model: nn.Module, wanted: Quantisation) -> None:
    """The same to a model on the meta device, whose numbers are loaded afterwards."""
    with torch.device("meta"):
        for name, linear in list(matrices(model)):
            sizes = linear.in_features, linear.out_features
            put(model, name, QuantisedLinear(*sizes, wanted.bits, wanted.group, linear.bias is not None))
        for _ in quantise_edges(model, wanted):
            pass
