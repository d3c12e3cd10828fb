"""Model folders: `config.json` and `model.safetensors`, as Hugging Face writes and reads them, and no other format.

What is read is checked: a tensor that is missing, left over, of another shape or truncated is an error that names it,
one that is not finite at the latest when there are scores. What is written is whole or not there. A model that was read
and is saved unchanged gives the same bytes.
"""

import json
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import reduce
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from nextword.core.errors import CheckpointError
from nextword.core.files import atomic_folder, disk_errors, finish_swap, read_json
from nextword.models.family import LAYERS, Family, Storable, find, understood
from nextword.models.finite import count_broken
from nextword.models.mapped import map_tensors
from nextword.models.weights import to_ours, to_theirs
from nextword.nn.half import as_stored

CONFIG, WEIGHTS, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
SHARD_BYTES = 50 * 10**9  # transformers' default size of a file before it starts another
SHARED_LAYERS = 1000  # so many may use one set of weights (ALBERT)
METADATA = {"format": "pt"}  # what transformers writes, and asks for
# Parts of names: a number of these weights that is not finite shows in the scores, so that they need not be read first
# (`models/finite.py`). Attention's kernels can hide one in queries, keys and their tables: all others are looked at.
SHOWN = frozenset({"embedding", "value", "output", "gate", "up", "down", "head"})

Dtype = torch.dtype | Callable[[torch.dtype], torch.dtype] | None  # a type, what to make of the stored one, or that


def load_model(folder: Path | str, dtype: Dtype = None, device: str = "cpu") -> Storable:
    """The model in a folder, ready to use (not training); floating-point weights become `dtype` (None: as stored).

    On the CPU, weights of that type are views of the files (`models/mapped.py`); others are made one at a time, so that
    the peak of memory is the model's own size. Raises CheckpointError with cause and remedy when the folder is no
    checkpoint or does not hold what it promises.
    """
    folder = Path(folder)
    config = load_config(folder)
    find(config.get("model_type"), str(folder / CONFIG))  # before the weights are read
    return assemble(config, dict(read_tensors(folder)), folder, dtype, device)


def assemble(config: dict[str, Any], stored: dict[str, Tensor], source: Path, dtype: Dtype, device: str) -> Storable:
    """The model of a config and the tensors of its file, named as transformers names them; `source` is for errors."""
    config, stored = find(config.get("model_type"), str(source)).settled(config, stored)
    family = find(config["model_type"], str(source))
    with understood(str(source)):
        _check_layers(config, len(stored), source)
        with torch.device("meta"):
            model = family.build(config)
        rules, renamed = list(family.rules(config)), family.older(stored, config)
        stored = {renamed.get(name, name): tensor for name, tensor in stored.items()}
        stored = _without_ignored(stored, family, config)
    dtype = chosen(dtype, widest(tensor.dtype for tensor in stored.values()))
    device = device if isinstance(model, torch.nn.Module) else "cpu"  # counts are looked up there
    wanted, kept = model.state_dict(), {}
    theirs = {name: rule.theirs for rule in rules for name in rule.ours}
    for name, tensor in to_ours(rules, stored, str(source)):
        _check_shape(theirs[name], tensor, wanted[name], source)
        if not SHOWN.intersection(name.split(".")):
            check_finite(" + ".join(theirs[name]), tensor, source)
        kept[name] = _place(tensor, dtype, device)
    model.load_state_dict(kept, strict=True, assign=True)
    if isinstance(model, torch.nn.Module):
        model.eval()
    return model


def _check_layers(config: Mapping[str, Any], tensors: int, source: Path) -> None:
    """CheckpointError for more layers than tensors, before anything is made for each of them (layers may be shared)."""
    for key in LAYERS.intersection(config):
        if isinstance(config[key], int) and config[key] > max(tensors, SHARED_LAYERS):
            raise CheckpointError(
                f"{source} has {tensors} tensors, too few for {key} {config[key]}: correct config.json, or get the "
                "right file"
            )


def chosen(dtype: Dtype, stored: torch.dtype) -> torch.dtype:
    """The type that weights stored in `stored` get."""
    if dtype is None or isinstance(dtype, torch.dtype):
        return dtype or stored
    return dtype(stored)


def load_config(folder: Path) -> dict[str, Any]:
    """The config.json of a model folder; CheckpointError saying what is missing where it is none."""
    finish_swap(folder)
    if not folder.is_dir():
        raise CheckpointError(f"{folder} is not a folder; a model is a folder with {CONFIG} and {WEIGHTS}")
    config = folder / CONFIG
    if not config.is_file():
        raise CheckpointError(f"{folder} is no model folder: it lacks {CONFIG} (and has {_content(folder)})")
    tree = read_json(config, CheckpointError)
    if not isinstance(tree, dict):
        raise CheckpointError(f"{config} must hold a JSON object, received {type(tree).__name__}")
    return tree


def read_tensors(folder: Path) -> Iterator[tuple[str, Tensor]]:
    """All tensors of a folder's safetensors, from one file or from the shards that its index names: views of these."""
    for path, names in _files(folder).items():
        tensors = map_tensors(path)
        absent = names - tensors.keys()
        if absent:
            raise CheckpointError(f"{path} lacks {min(absent)!r}, which {INDEX} places there; get the file again")
        yield from tensors.items()


def save_model(model: Storable, folder: Path | str, shard_bytes: int = SHARD_BYTES) -> None:
    """Writes a model folder as a whole, replacing the one that was there; files of other kinds in it are kept."""
    folder = Path(folder)
    with atomic_folder(folder) as fresh:
        copy_others(folder, fresh)
        write_model(model, fresh, shard_bytes)


def copy_others(folder: Path, fresh: Path) -> None:
    """Copies the tokenizer and whatever else lies in a model's folder, but for config and weights, if it exists."""
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.is_file() and path.name != CONFIG and ".safetensors" not in path.name:
            shutil.copy2(path, fresh / path.name)


def write_model(model: Storable, folder: Path, shard_bytes: int = SHARD_BYTES) -> None:
    """Writes config.json and the weights into an existing folder, for a caller who makes the folder atomic."""
    family = find(model.config.get("model_type"), "the model")
    state = as_stored(model) if isinstance(model, torch.nn.Module) else model.state_dict()
    ours = {name: tensor.detach() for name, tensor in state.items()}
    theirs = {name: x.to("cpu").contiguous() for name, x in to_theirs(family.rules(model.config), ours).items()}
    config = dict(model.config)
    floats = [x for x in theirs.values() if x.is_floating_point()]
    if floats:
        key = "torch_dtype" if "torch_dtype" in config and "dtype" not in config else "dtype"
        config[key] = str(widest(x.dtype for x in floats)).removeprefix("torch.")
    with disk_errors(folder):
        shards = _shards(theirs, shard_bytes)
        for name, tensors in shards.items():
            save_tensors(tensors, folder / name)
        if len(shards) > 1:
            write_tree(folder / INDEX, _index(shards))
        write_tree(folder / CONFIG, config)


def save_tensors(tensors: dict[str, Tensor], path: Path) -> None:
    """Writes one file; a full disk is an OSError, as it is for every other file (the library hides it in its own)."""
    try:
        save_file(tensors, path, metadata=METADATA)
    except SafetensorError as error:
        number = re.search(r"os error (\d+)", str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), str(error)) from error


def write_tree(path: Path, tree: Any) -> None:
    """Writes a config or an index in transformers' layout, byte for byte."""
    path.write_text(json.dumps(tree, indent=2, sort_keys=True) + "\n")


def _shards(tensors: Mapping[str, Tensor], shard_bytes: int) -> dict[str, dict[str, Tensor]]:
    """Tensors by file, in order, each file of at most `shard_bytes` unless one tensor is larger."""
    groups: list[dict[str, Tensor]] = [{}]
    size = 0
    for name, tensor in tensors.items():
        if groups[-1] and size + tensor.nbytes > shard_bytes:
            groups.append({})
            size = 0
        groups[-1][name] = tensor
        size += tensor.nbytes
    if len(groups) == 1:
        return {WEIGHTS: groups[0]}
    return {f"model-{n:05d}-of-{len(groups):05d}.safetensors": group for n, group in enumerate(groups, 1)}


def _index(shards: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Any]:
    tensors = [tensor for group in shards.values() for tensor in group.values()]
    sizes = {"total_parameters": sum(t.numel() for t in tensors), "total_size": sum(t.nbytes for t in tensors)}
    return {"metadata": sizes, "weight_map": dict(sorted((n, file) for file, g in shards.items() for n in g))}


def _files(folder: Path) -> dict[Path, set[str]]:
    """The safetensors files of a folder and the names that its index places in each (empty: all that it holds)."""
    if (folder / WEIGHTS).is_file():
        return {folder / WEIGHTS: set()}
    if not (folder / INDEX).is_file():
        pickles = sorted(path.name for path in folder.glob("*.bin")) + sorted(p.name for p in folder.glob("*.pt*"))
        if pickles:
            raise CheckpointError(
                f"{folder} holds {pickles[0]} but no {WEIGHTS}: nextword reads no pickle, which can run any code; "
                "save the model as safetensors (transformers: model.save_pretrained(folder))"
            )
        raise CheckpointError(f"{folder} is no model folder: it lacks {WEIGHTS} (and has {_content(folder)})")
    index = read_json(folder / INDEX, CheckpointError)
    places = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(places, dict) or not places or not all(isinstance(file, str) for file in places.values()):
        raise CheckpointError(f"{folder / INDEX} has no weight_map of tensor names and file names; get it again")
    files: dict[Path, set[str]] = {}
    for name, file in places.items():
        path = folder / file
        if Path(file).name != file or path.suffix != ".safetensors":
            raise CheckpointError(
                f"{folder / INDEX} places {name!r} in {file!r}, which is no safetensors file beside it"
            )
        if not path.is_file():
            raise CheckpointError(f"{folder} lacks {file}, which {INDEX} names; get it again")
        files.setdefault(path, set()).add(name)
    return files


def _content(folder: Path) -> str:
    found = sorted(path.name for path in folder.iterdir())
    return ", ".join(found[:5]) + (f" and {len(found) - 5} more" if len(found) > 5 else "") if found else "nothing"


def check_finite(name: str, tensor: Tensor, path: Path) -> None:
    """CheckpointError for a tensor with numbers that are NaN or infinite."""
    if broken := count_broken(tensor):
        raise CheckpointError(
            f"{path}: {name!r} has {broken} of {tensor.numel()} numbers that are NaN or infinite; "
            "the training diverged or the file is corrupt: take an earlier checkpoint"
        )


def _without_ignored(stored: dict[str, Tensor], family: Family, config: dict[str, Any]) -> dict[str, Tensor]:
    """Leaves out tables without content, and a second copy of a tied matrix."""
    for name in family.ignored(config):
        stored.pop(name, None)
    for copy, original in family.copies(config).items():
        if copy in stored and original in stored:
            if not torch.equal(stored[copy], stored[original]):
                raise CheckpointError(
                    f"{copy!r} differs from {original!r}, but config.json ties them: set tie_word_embeddings to false"
                )
            del stored[copy]
    return stored


def _check_shape(names: tuple[str, ...], tensor: Tensor, wanted: Tensor, source: Path) -> None:
    if tensor.shape != wanted.shape:
        raise CheckpointError(
            f"{source}: {' + '.join(map(repr, names))} has shape {tuple(tensor.shape)}, but its config.json "
            f"asks for {tuple(wanted.shape)}: correct config.json, or get the right file"
        )


def _place(tensor: Tensor, dtype: torch.dtype, device: str) -> Tensor:
    return tensor.to(device, dtype) if tensor.is_floating_point() else tensor.to(device)


def widest(dtypes: Iterable[torch.dtype]) -> torch.dtype:
    """The smallest type that holds the floating-point ones among these without loss (fp32 where there is none)."""
    found = [dtype for dtype in dtypes if dtype.is_floating_point]
    return reduce(torch.promote_types, found) if found else torch.float32
