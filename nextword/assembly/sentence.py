"""Folders of sentence-transformers: how a model's vectors of tokens become one vector of a text.

`modules.json` lists the steps: the transformer, the pooling (whose config says which), perhaps dense layers f(W v + b),
and perhaps the scaling to length 1. `sentence_bert_config.json` says how many tokens of a text are read; what is longer
is cut off, as was done in training. `config_sentence_transformers.json` may have prompts, by name, that stand before
texts of a kind: "Instruct: Given a question, find passages that answer it" (Su et al., "One Embedder, Any Task", 2023).
(Reimers & Gurevych, "Sentence-BERT", 2019.)
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.nn.functional import linear

from nextword.core.errors import CheckpointError
from nextword.core.files import read_json, write_atomic
from nextword.models.checkpoint import WEIGHTS, read_tensors
from nextword.nn.feedforward import ACTIVATIONS

MODULES, SETTINGS, PROMPTS = "modules.json", "sentence_bert_config.json", "config_sentence_transformers.json"
CONFIG = "config.json"
MODE = "pooling_mode_"
VECTORS = "sentence_embedding"  # what dense layers read, but for models of another kind
# the last part of what PyTorch calls an activation -> our name
ACTIVATION_NAMES = {"Identity": None, "Tanh": "tanh", "ReLU": "relu", "GELU": "gelu", "Sigmoid": "sigmoid"}
# keys of the pooling's config, in the order in which several are put behind one another -> our names
POOLINGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean-sqrt",
    "pooling_mode_weightedmean_tokens": "weighted",
    "pooling_mode_lasttoken": "last",
}


@dataclass(frozen=True)
class Dense:
    """f(W v + b): weight_OD, bias_O (None: none), and f, a key of ACTIVATIONS (None: f(x) = x)."""

    weight_OD: Tensor
    bias_O: Tensor | None
    activation: str | None

    def __call__(self, vectors_ND: Tensor) -> Tensor:
        """(N, D) -> (N, O), fp32."""
        bias_O = None if self.bias_O is None else self.bias_O.to(vectors_ND.device)
        found_NO = linear(vectors_ND, self.weight_OD.to(vectors_ND.device), bias_O)
        return found_NO if self.activation is None else ACTIVATIONS[self.activation].function(found_NO)


@dataclass(frozen=True)
class Sentence:
    """poolings: one behind another. normalise: to length 1. max_length: tokens read. lower: in small letters.

    prompts: what stands before a text, by name; prompt: the one that is used where none is asked for. with_prompt:
    whether the vectors of a prompt's tokens are pooled along. dense: layers behind the pooling. files: what the folder
    says, by path within it, so that it can be written again.
    """

    poolings: tuple[str, ...]
    normalise: bool
    max_length: int | None
    lower: bool
    files: Mapping[str, str | bytes]
    prompts: Mapping[str, str] = field(default_factory=dict)
    prompt: str | None = None
    with_prompt: bool = True
    dense: tuple[Dense, ...] = ()


def read_sentence(folder: Path) -> Sentence | None:
    """What a folder says of vectors for texts; None where it says nothing, CheckpointError for what is not known."""
    if not (folder / MODULES).is_file():
        return None
    files: dict[str, str | bytes] = {MODULES: (folder / MODULES).read_text()}
    modules = read_json(folder / MODULES, CheckpointError)
    if not isinstance(modules, list) or not all(isinstance(module, dict) for module in modules):
        raise CheckpointError(f"{folder / MODULES} must hold a list of modules; get it again")
    kinds = [str(module.get("type", "")).rsplit(".", 1)[-1] for module in modules]
    layers = kinds.count("Dense")
    known = ["Transformer", "Pooling", *["Dense"] * layers]
    if kinds not in (known, [*known, "Normalize"]):
        raise CheckpointError(
            f"{folder / MODULES} asks for {', '.join(kinds) or 'nothing'}; nextword knows Transformer, Pooling, and "
            "perhaps Dense and Normalize, in this order: remove it to use the model without"
        )
    path, *paths = (_place(folder, module) for module in modules[1 : 2 + layers])
    pooling = _table(folder, f"{path}/{CONFIG}", files)
    settings = _table(folder, SETTINGS, files)
    limit = settings.get("max_seq_length")
    if limit is not None and (not isinstance(limit, int) or limit < 1):
        raise CheckpointError(f"{folder / SETTINGS}: max_seq_length must be a number of tokens, received {limit!r}")
    further = _table(folder, PROMPTS, files)
    prompts, prompt = further.get("prompts") or {}, further.get("default_prompt_name")
    texts = isinstance(prompts, dict) and all(isinstance(text, str) for text in prompts.values())
    if not texts or (prompt is not None and prompt not in prompts):
        raise CheckpointError(
            f"{folder / PROMPTS}: prompts must be texts by name, and default_prompt_name one of them: received "
            f"{prompts!r} and {prompt!r}"
        )
    return Sentence(
        _poolings(pooling, folder / path),
        kinds != known,
        limit,
        settings.get("do_lower_case") is True,
        files,
        prompts,
        prompt,
        pooling.get("include_prompt") is not False,
        tuple(_dense(folder, path, files) for path in paths),
    )


def write_sentence(folder: Path, sentence: Sentence) -> None:
    """Writes the files again as they were."""
    for path, content in sentence.files.items():
        (folder / path).parent.mkdir(exist_ok=True)
        write_atomic(folder / path, content)


def _place(folder: Path, module: Mapping[str, Any]) -> str:
    path = str(module.get("path", ""))
    if path in {"", ".."} or Path(path).name != path:
        raise CheckpointError(f"{folder / MODULES}: a module's path must be a folder in it, received {path!r}")
    return path


def _dense(folder: Path, path: str, files: dict[str, str | bytes]) -> Dense:
    config = _table(folder, f"{path}/{CONFIG}", files)
    activation = str(config.get("activation_function", "Tanh")).rsplit(".", 1)[-1]
    reads = config.get("module_input_name", VECTORS)
    if activation not in ACTIVATION_NAMES or reads != VECTORS:
        raise CheckpointError(
            f"{folder / path / CONFIG}: a dense layer on {reads!r} with {activation} is not known; known are layers on "
            f"{VECTORS!r} with {', '.join(ACTIVATION_NAMES)}"
        )
    found = dict(read_tensors(folder / path))
    shape = tuple(config.get(key) for key in ("out_features", "in_features"))
    wanted = {"linear.weight", "linear.bias"} if config.get("bias", True) else {"linear.weight"}
    if set(found) != wanted or tuple(found["linear.weight"].shape) != shape:
        raise CheckpointError(f"{folder / path}: the weights are not those of the layer that {CONFIG} describes")
    files[f"{path}/{WEIGHTS}"] = (folder / path / WEIGHTS).read_bytes()
    bias = found.get("linear.bias")
    return Dense(found["linear.weight"].float(), None if bias is None else bias.float(), ACTIVATION_NAMES[activation])


def _table(folder: Path, path: str, files: dict[str, str | bytes]) -> dict[str, Any]:
    if not (folder / path).is_file():
        return {}
    tree = read_json(folder / path, CheckpointError)
    if not isinstance(tree, dict):
        raise CheckpointError(f"{folder / path} must hold a JSON object, received {type(tree).__name__}")
    files[path] = (folder / path).read_text()
    return tree


def _poolings(config: Mapping[str, Any], where: Path) -> tuple[str, ...]:
    on = [key for key, value in config.items() if key.startswith(MODE) and value is True]
    if isinstance(config.get("pooling_mode"), str):  # as a single word
        on = [next((key for key in POOLINGS if key.startswith(MODE + config["pooling_mode"])), config["pooling_mode"])]
    unknown = [key for key in on if key not in POOLINGS]
    if unknown or not on:
        raise CheckpointError(
            f"{where / CONFIG} asks for {unknown[0] if unknown else 'no pooling'}; known are {', '.join(POOLINGS)}"
        )
    return tuple(name for key, name in POOLINGS.items() if key in on)
