"""Model folders, quantised or not: a quantised one loads again as any other.

config.json is the dense model's with a `quantization_config` whose `quant_method` is "nextword", so that a tool that
does not know it refuses the folder and does not misread it. The tensors have our own names (`blocks.0.attention.query.
codes`, `.scales`): there are none of other tools for packed numbers in our layout.
"""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from nextword.core.errors import CheckpointError
from nextword.core.files import atomic_folder, disk_errors
from nextword.models import checkpoint
from nextword.models.checkpoint import CONFIG, WEIGHTS, Dtype, chosen
from nextword.models.family import QUANTISED, Storable, find
from nextword.quant import model as whole
from nextword.quant.linear import QuantisedLinear
from nextword.quant.model import Quantisation


def described(config: dict[str, Any]) -> tuple[dict[str, Any], Quantisation | None]:
    """The dense model's config, and what was done to it."""
    return {key: value for key, value in config.items() if key != QUANTISED}, whole.read(config)


def load(folder: Path, dtype: Dtype = None, device: str = "cpu") -> Storable:
    """The model of a folder; what is not quantised, and what is computed, becomes `dtype` (None: as stored).

    CheckpointError naming what is missing, left over, of another shape, or broken.
    """
    config, quantisation = described(checkpoint.load_config(folder))
    if quantisation is None:
        return checkpoint.load_model(folder, dtype, device)
    with torch.device("meta"):
        model = find(config.get("model_type"), str(folder / CONFIG)).build(config)
    assert isinstance(model, nn.Module)
    whole.empty(model, quantisation)
    tensors, wanted = dict(checkpoint.read_tensors(folder)), model.state_dict()
    for name in sorted(wanted.keys() ^ tensors.keys()):
        has = "lacks" if name in wanted else "has in excess"
        raise CheckpointError(f"{folder / WEIGHTS} {has} {name!r}, of what {CONFIG} promises: quantise the model again")
    for name, tensor in tensors.items():
        if (tensor.shape, tensor.is_floating_point()) != (wanted[name].shape, wanted[name].is_floating_point()):
            raise CheckpointError(
                f"{folder}: {name!r} is {tuple(tensor.shape)} of {tensor.dtype}, but its {CONFIG} asks for "
                f"{tuple(wanted[name].shape)} of {wanted[name].dtype}: quantise the model again"
            )
        checkpoint.check_finite(name, tensor, folder)
    model.load_state_dict(tensors, strict=True, assign=True)
    stored = next((x.dtype for x in model.parameters() if x.is_floating_point()), torch.float32)
    return model.to(device, chosen(dtype, stored)).eval()


def save(model: Storable, folder: Path) -> None:
    """Writes a model folder as a whole, in place of what was there; files of other kinds are kept."""
    if whole.of(model) is None:
        checkpoint.save_model(model, folder)
        return
    with atomic_folder(folder) as fresh:
        checkpoint.copy_others(folder, fresh)
        write(model, fresh)


def write(model: Storable, folder: Path) -> None:
    """Writes config.json and weights into an existing folder, for a caller who makes the folder atomic."""
    quantisation = whole.of(model)
    if quantisation is None:
        checkpoint.write_model(model, folder)
        return
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    with disk_errors(folder):
        checkpoint.save_tensors(tensors, folder / WEIGHTS)
        checkpoint.write_tree(folder / CONFIG, {**model.config, QUANTISED: quantisation.tree()})


def stored_bytes(model: Storable) -> int:
    """Bytes of all numbers of a model as they are stored."""
    return sum(tensor.nbytes for tensor in model.state_dict().values())


def bits_of(model: nn.Module) -> float:
    """Bits of a weight in the quantised layers, scales included."""
    layers = [module for module in model.modules() if isinstance(module, QuantisedLinear)]
    weights = sum(layer.in_features * layer.out_features for layer in layers)
    return 8 * sum(layer.codes.nbytes + layer.scales.nbytes for layer in layers) / weights
