"""A family is a translation, not a model: a foreign config into our description, foreign tensors into our names.

Each file in `nextword/models/families` holds one `FAMILY`; its name is the `model_type` of the configs that it reads.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Any, Protocol

import torch
from torch import Tensor

from nextword.core.errors import CheckpointError, NextwordError, SettingsError, nearest
from nextword.core.registry import names, part
from nextword.models.base import LanguageModel
from nextword.models.costs import Costs
from nextword.models.settings import FAMILIES, ModelSettings
from nextword.models.weights import Rule
from nextword.nn.feedforward import ACTIVATIONS

QUANTISED = "quantization_config"  # the key of config.json by which files of packed weights are known

# keys of a config.json that describe the file, its history or its handling, and change no number that is computed
_HARMLESS = """
    architectures auto_map bad_words_ids begin_suppress_tokens bos_token_id cache_implementation chunk_size_feed_forward
    decoder_start_token_id diversity_penalty do_sample dtype early_stopping encoder_no_repeat_ngram_size eos_token_id
    exponential_decay_length_penalty finetuning_task forced_bos_token_id forced_eos_token_id id2label
    initializer_range is_llama_config label2id length_penalty max_length max_new_tokens max_sequence_length min_length
    model_type no_repeat_ngram_size num_beam_groups num_beams num_labels num_return_sequences output_attentions
    output_hidden_states output_scores pad_token_id prefix pretraining_tp problem_type remove_invalid_values
    repetition_penalty return_dict return_dict_in_generate sep_token_id suppress_tokens task_specific_params
    temperature tf_legacy_loss tokenizer_class top_k top_p torch_dtype torchscript transformers.js_config
    transformers_version typical_p unsloth_fixed unsloth_version use_bfloat16 use_cache
"""
_LAYERS = "num_hidden_layers n_layer n_layers num_layers num_decoder_layers encoder_layers decoder_layers layers"
LAYERS = frozenset(_LAYERS.split())
MOST_LAYERS, LARGEST = 10_000, (1 << 31) - 1  # beyond these a config is a mistake, or made to do harm
HARMLESS = frozenset(_HARMLESS.split())
Stored = dict[str, Tensor]  # what a file holds, by name


class Storable(LanguageModel, Protocol):
    """A model whose tensors can be taken out and put in by name, and drawn anew."""

    PARTS: dict[str, str]

    def state_dict(self) -> dict[str, Tensor]:
        """All tensors by name."""
        ...

    def load_state_dict(self, tensors: Mapping[str, Tensor], strict: bool = True, assign: bool = False) -> object:
        """Takes tensors by name; with `assign` the given ones themselves, not their values."""
        ...

    def initialise(self, std: float, generator: torch.Generator) -> None:
        """Draws all weights anew."""
        ...

    def costs(self) -> Costs:
        """What a token costs."""
        ...


@dataclass(frozen=True)
class Special:
    """The ids of special tokens that a config.json carries; None where the tokenizer has none."""

    bos_id: int | None = None
    eos_id: int | None = None
    pad_id: int | None = None


@dataclass(frozen=True)
class Family:
    """How models of one `model_type` are described, built, read and written.

    honoured: the ModelSettings that it uses. config: settings, vocabulary size and special ids -> config.json. build:
    config.json -> model, on whatever device torch makes tensors on. rules: config.json -> how tensors are named.
    ignored: names of tensors in files that carry nothing (tables that old versions stored). copies: names of tensors
    that some files hold although they are tied to another, which they must equal. older: the names in a file -> those
    among them that are written otherwise today, with today's name. settled: config and tensors of what is read, where
    that is a part of a larger model or only the names in the file say what it is. draw: draws fresh weights after
    `initialise`, which serves most families alone. note: what whoever saves one should know.
    """

    honoured: frozenset[str]
    config: Callable[[ModelSettings, int, Special], dict[str, Any]]
    build: Callable[[dict[str, Any]], Storable]
    rules: Callable[[dict[str, Any]], Iterable[Rule]]
    ignored: Callable[[dict[str, Any]], frozenset[str]] = lambda config: frozenset()
    copies: Callable[[dict[str, Any]], Mapping[str, str]] = lambda config: {}
    older: Callable[[Iterable[str], dict[str, Any]], Mapping[str, str]] = lambda names, config: {}
    settled: Callable[[dict[str, Any], Stored], tuple[dict[str, Any], Stored]] = lambda config, stored: (config, stored)
    draw: Callable[[Storable, torch.Generator], None] = lambda model, generator: None
    note: str = ""


def find(model_type: object, where: str) -> Family:
    """The family of a `model_type`; `where` names the file that asks for it."""
    known = names(FAMILIES)
    if not isinstance(model_type, str) or model_type.replace("-", "_") not in known:
        raise CheckpointError(
            f"{where}: model_type is {model_type!r}, which nextword does not read; it reads {', '.join(known)}"
        )
    return part(FAMILIES, model_type, "FAMILY")  # type: ignore[return-value]


@contextmanager
def understood(where: str) -> Iterator[None]:
    """Around work with a config from anywhere: what a nonsensical value does to its arithmetic is a CheckpointError."""
    try:
        yield
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        what = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise CheckpointError(f"{where}: its config.json describes no model ({what}); correct it") from error


def note_of(config: Mapping[str, Any]) -> str:
    """What whoever saves or is given a model of this config should know; empty where there is nothing."""
    return find(config.get("model_type"), "the model").note


def fresh_config(settings: ModelSettings, vocab_size: int, special: Special) -> dict[str, Any]:
    """The config.json of a fresh model; SettingsError for a set field that the family does not honour."""
    family: Family = part(FAMILIES, settings.family, "FAMILY")  # type: ignore[assignment]
    for field in fields(settings):
        unset = getattr(settings, field.name) in (None, ())
        if field.name != "family" and field.name not in family.honoured and not unset:
            raise SettingsError(
                f"model.{field.name} does not apply to the family {settings.family!r}, "
                f"which has: {', '.join(sorted(family.honoured))}"
            )
    return family.config(settings, vocab_size, special)


def check_keys(config: Mapping[str, Any], known: frozenset[str]) -> None:
    """CheckpointError for the first key of a config that is neither known nor harmless: it might change numbers."""
    if config.get(QUANTISED) is not None:
        raise CheckpointError(
            f"config.json: these weights are quantised ({config[QUANTISED]!r:.80}), which is not read here; take the "
            "unquantised model, or a GGUF file"
        )
    for key in config:
        if key not in known and key not in HARMLESS and not key.startswith("_"):
            raise CheckpointError(
                f"config.json has {key!r} = {config[key]!r}, which nextword does not know for model_type "
                f"{config.get('model_type')!r}{nearest(key, known)}; remove it if it changes no number"
            )


def check_value(config: Mapping[str, Any], key: str, known: Any) -> None:
    """CheckpointError when a key is there with another value than the one that the family computes with."""
    if config.get(key, known) != known:
        raise CheckpointError(
            f"config.json: {key} = {config[key]!r} is not known to model_type {config.get('model_type')!r}; "
            f"nextword computes with {known!r}"
        )


def check_off(config: Mapping[str, Any], key: str) -> None:
    """CheckpointError where a switch that nextword does not have is on; it may be absent, null or false."""
    if config.get(key):
        raise CheckpointError(
            f"config.json: {key} = {config[key]!r} is not known to model_type {config.get('model_type')!r}"
        )


def aliased(config: Mapping[str, Any], aliases: Mapping[str, str]) -> dict[str, Any]:
    """The config with older names of keys (alias -> today's) replaced; CheckpointError where two of them disagree."""
    found = {key: value for key, value in config.items() if key not in aliases}
    for alias, key in aliases.items():
        if config.get(alias) is not None and found.setdefault(key, config[alias]) != config[alias]:
            raise CheckpointError(
                f"config.json contradicts itself: {alias} = {config[alias]!r}, but {key} = {found[key]!r}, which is "
                "the same; remove the wrong one"
            )
    return found


def divided(width: int, heads: int, names: tuple[str, str], error: type[NextwordError] = CheckpointError) -> int:
    """The width of one head where all fill the width exactly; an error with the `names` of both where they cannot."""
    if width % heads:
        raise error(f"{names[1]} {heads} must divide {names[0]} {width}")
    return width // heads


def known_activation(config: Mapping[str, Any], key: str, default: str) -> str:
    """The activation that a key names, one of ACTIVATIONS."""
    name: str = typed(config, key, str, default)
    if name not in ACTIVATIONS:
        raise CheckpointError(f"config.json: {key} {name!r} is not known{nearest(name, ACTIVATIONS)}")
    return name


def positive(config: Mapping[str, Any], key: str) -> float | None:
    """A number above 0; None where the key is missing or null."""
    value: float | None = typed(config, key, float, None)
    if value is not None and not value > 0:
        raise CheckpointError(f"config.json: {key!r} must be above 0, received {value!r}")
    return value


def required(config: Mapping[str, Any], key: str, kind: type) -> Any:
    """The value of a key that must be there and be of the given type (a bool is no int)."""
    if key not in config:
        raise CheckpointError(f"config.json lacks {key!r}")
    return typed(config, key, kind, None)


def typed(config: Mapping[str, Any], key: str, kind: type, default: Any) -> Any:
    """The value of a key, checked to be of the given type; the default where it is missing or null."""
    value = config.get(key)
    if value is None:
        return default
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise CheckpointError(f"config.json: {key!r} must be {kind.__name__}, received {value!r}")
    if kind is int and value < 1:
        raise CheckpointError(f"config.json: {key!r} must be at least 1, received {value!r}")
    if kind is int and value > (most := MOST_LAYERS if key in LAYERS else LARGEST):
        raise CheckpointError(f"config.json: {key!r} must be at most {most}, received {value!r}")
    return value
