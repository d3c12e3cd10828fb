"""LSTM language models, in a config.json of our own: transformers has no such family."""

from collections.abc import Mapping
from typing import Any

from nextword.models.family import Family, Special, check_keys, required, typed
from nextword.models.recurrent import RecurrentModel, RecurrentModelSettings
from nextword.models.settings import ModelSettings
from nextword.models.weights import Rule, same
from nextword.nn.recurrent import RecurrentSettings

KEYS = frozenset({"dropout", "hidden_size", "num_hidden_layers", "tie_word_embeddings", "vocab_size"})
STANDARD_DEVIATION = 0.05  # of the embedding, which is the output matrix too: h is within ±1, so scores start near 0


def describe(config: Mapping[str, Any]) -> RecurrentModelSettings:
    """Our description from a config.json; CheckpointError naming the key that is wrong or unknown."""
    check_keys(config, KEYS)
    return RecurrentModelSettings(
        vocab_size=required(config, "vocab_size", int),
        recurrence=RecurrentSettings(
            required(config, "hidden_size", int),
            required(config, "num_hidden_layers", int),
            typed(config, "dropout", float, 0.0),
        ),
        tied=typed(config, "tie_word_embeddings", bool, False),
    )


def build(config: dict[str, Any]) -> RecurrentModel:
    """The model that a config.json describes."""
    return RecurrentModel(describe(config), config)


def rules(config: Mapping[str, Any]) -> list[Rule]:
    """The names in the file: PyTorch's own of an `nn.LSTM`, below `lstm`."""
    found = [same("embedding.weight", "embedding.weight")]
    for layer in range(config["num_hidden_layers"]):
        for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
            found.append(same(f"lstm.{kind}_l{layer}", f"recurrence.lstm.{kind}_l{layer}"))
    if not config.get("tie_word_embeddings"):
        found.append(same("head.weight", "head.weight"))
    return found


def fresh(settings: ModelSettings, vocab_size: int, special: Special) -> dict[str, Any]:
    """The config.json of a fresh LSTM."""
    return {
        "bos_token_id": special.bos_id,
        "dropout": settings.dropout or 0.0,
        "dtype": "float32",
        "eos_token_id": special.eos_id,
        "hidden_size": settings.width or 256,
        "initializer_range": STANDARD_DEVIATION,
        "model_type": "lstm",
        "num_hidden_layers": settings.depth or 2,
        "pad_token_id": special.pad_id,
        "tie_word_embeddings": True if settings.tied is None else settings.tied,
        "vocab_size": vocab_size,
    }


FAMILY = Family(honoured=frozenset({"width", "depth", "tied", "dropout"}), config=fresh, build=build, rules=rules)
