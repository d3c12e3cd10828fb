"""n-gram language models, in a config.json of our own; the tables stand in model.safetensors like any weights."""

from collections.abc import Mapping
from typing import Any

from nextword.core.errors import CheckpointError
from nextword.models.family import Family, Special, check_keys, required
from nextword.models.ngram import NGram, NGramSettings
from nextword.models.settings import LARGEST_ORDER, ModelSettings
from nextword.models.weights import Rule, same

KEYS = frozenset({"entries", "order", "smoothing", "vocab_size"})
SMOOTHING = "witten-bell"


def describe(config: Mapping[str, Any]) -> NGramSettings:
    """Our description from a config.json; CheckpointError naming the key that is wrong or unknown."""
    check_keys(config, KEYS)
    order, entries, eos_id = (
        required(config, "order", int),
        required(config, "entries", list),
        config.get("eos_token_id"),
    )
    if order > LARGEST_ORDER:
        raise CheckpointError(f"config.json: order must be at most {LARGEST_ORDER}, received {order}")
    if len(entries) != order - 1 or not all(isinstance(size, int) and size >= 0 for size in entries):
        raise CheckpointError(f"config.json: entries must be {order - 1} table sizes (order - 1), received {entries!r}")
    if config.get("smoothing") != SMOOTHING:
        raise CheckpointError(f"config.json: smoothing must be {SMOOTHING!r}, received {config.get('smoothing')!r}")
    if eos_id is not None and not isinstance(eos_id, int):
        raise CheckpointError(f"config.json: eos_token_id must be one id, received {eos_id!r}")
    return NGramSettings(required(config, "vocab_size", int), order, eos_id, tuple(entries))


def build(config: dict[str, Any]) -> NGram:
    """The n-gram that a config.json describes, its tables still to be filled."""
    return NGram(describe(config), config)


def rules(config: Mapping[str, Any]) -> list[Rule]:
    """Our own names."""
    longer = range(2, config["order"] + 1)
    return [same("counts_1", "counts_1"), *(same(f"{x}_{k}", f"{x}_{k}") for k in longer for x in ("keys", "counts"))]


def fresh(settings: ModelSettings, vocab_size: int, special: Special) -> dict[str, Any]:
    """The config.json of an n-gram that has counted nothing."""
    order = settings.order or 3
    return {
        "bos_token_id": special.bos_id,
        "entries": [0] * (order - 1),
        "eos_token_id": special.eos_id,
        "model_type": "ngram",
        "order": order,
        "pad_token_id": special.pad_id,
        "smoothing": SMOOTHING,
        "vocab_size": vocab_size,
    }


FAMILY = Family(honoured=frozenset({"order"}), config=fresh, build=build, rules=rules)
