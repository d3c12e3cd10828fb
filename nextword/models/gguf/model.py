"""Models of GGUF files: their values become a config.json, their tensors those of transformers, and back.

From there on they are read and written as any Hugging Face folder: the same families, the same checks.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nextword.core.errors import CheckpointError
from nextword.core.registry import names, part
from nextword.models.checkpoint import Dtype, assemble, check_finite, chosen, widest
from nextword.models.family import Storable, find
from nextword.models.gguf import container
from nextword.models.gguf.architecture import ARCHITECTURES, POSITIONS, Architecture
from nextword.models.gguf.blocks import FORMATS, PLAIN
from nextword.models.gguf.mixture import ROUTER
from nextword.models.gguf.rope import DIVISORS
from nextword.models.weights import to_ours, to_theirs

FILE_TYPES = {
    "f32": 0,
    "f16": 1,
    "q4_0": 2,
    "q8_0": 7,
    "bf16": 32,
}  # general.file_type: what most weights are stored in
EDGES = {"token_embd.weight", "output.weight"}  # they suffer most from 4 bits and are kept in 8
ALSO = {"gemma3_text": "gemma3", "mistral": "llama", "mixtral": "llama"}  # model_type -> the architecture of the same


def find_architecture(name: object, where: str) -> Architecture:
    """The architecture of that name; CheckpointError naming those that there are."""
    known = names(ARCHITECTURES)
    if name not in known:
        raise CheckpointError(f"{where} has architecture {name!r}; of GGUF nextword knows {', '.join(known)}")
    return part(ARCHITECTURES, str(name), "ARCHITECTURE")  # type: ignore[return-value]


def load(content: container.Content, dtype: Dtype = None, device: str = "cpu") -> Storable:
    """The model of a file that `container.read` has read; quantised weights count as stored in fp32."""
    path, config = content.path, config_of(content)
    dtype = chosen(dtype, widest(PLAIN.get(info.kind.name, torch.float32) for info in content.infos.values()))
    architecture = find_architecture(content.values["general.architecture"], str(path)).of(config["model_type"])
    stored: dict[str, Tensor] = {}
    for name, tensor in content.tensors():
        if name != DIVISORS:
            check_finite(name, tensor, path)
            stored[name] = tensor.to(dtype)
    theirs = dict(to_ours(architecture.rules(config), stored, str(path)))
    return assemble(config, theirs, path, dtype, device)


def config_of(content: container.Content) -> dict[str, Any]:
    """The config.json of a file, without reading its weights."""
    name, where = content.values.get("general.architecture"), str(content.path)
    shapes = {key: torch.empty(info.shape, device="meta") for key, info in content.infos.items()}
    if DIVISORS in shapes:
        shapes[DIVISORS] = content.tensor(DIVISORS)
    return find_architecture(name, where).config(str(name), content.values, shapes, where)


def check(config: Mapping[str, Any]) -> str:
    """The architecture that a config is written as; CheckpointError where GGUF or nextword has no words for it."""
    kind = config.get("model_type")
    name = ALSO.get(str(kind), str(kind))
    if name not in names(ARCHITECTURES):
        raise CheckpointError(
            f"models of model_type {kind!r} are not written to GGUF; those of {', '.join(names(ARCHITECTURES))} are"
        )
    find_architecture(name, "the model").of(kind).values(name, _renamed(config, name))
    return name


def _renamed(config: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The config as one of the family that the architecture is described by: Mistral's without its empty window."""
    if config.get("model_type") != "mistral":
        return dict(config)
    if config.get("sliding_window") is not None:
        raise CheckpointError(f"GGUF's {name} has no window: sliding_window is {config['sliding_window']}")
    return {key: value for key, value in config.items() if key != "sliding_window"} | {"model_type": name}


def write(path: Path, model: Storable, kind: str, values: Mapping[str, Any]) -> None:
    """Writes a file with the weights in format `kind`, and `values` beside the model's own.

    Vectors, routers and learned positions stay fp32; a matrix whose rows are no multiple of a block becomes fp16;
    embedding and output of a file of 4 bits are kept in 8.
    """
    name = check(model.config)
    architecture = find_architecture(name, str(path)).of(model.config.get("model_type"))
    config = _renamed(model.config, name)
    own, extra = architecture.values(name, config)
    family = find(model.config.get("model_type"), "the model")
    ours = {tensor_name: tensor.detach().cpu() for tensor_name, tensor in model.state_dict().items()}
    theirs = to_theirs(architecture.rules(config), to_theirs(family.rules(model.config), ours)) | extra
    head = {"general.architecture": name, "general.file_type": FILE_TYPES[kind], "general.quantization_version": 2}
    tensors = [(key, tensor.contiguous(), stored_as(key, tensor, kind)) for key, tensor in theirs.items()]
    container.write(path, head | own | dict(values), tensors)


def stored_as(name: str, tensor: Tensor, kind: str) -> str:
    """The format in which a tensor is kept in a file of that kind."""
    if tensor.dim() == 1 or name == POSITIONS or f".{ROUTER}." in name:
        return "f32"
    if kind == "q4_0" and name in EDGES:
        kind = "q8_0"
    return "f16" if tensor.shape[-1] % FORMATS[kind].block else kind
