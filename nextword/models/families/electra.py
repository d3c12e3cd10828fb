"""ELECTRA: an encoder built like BERT that judges for every token whether it stood there or was put in.

Clark et al., "ELECTRA: Pre-training Text Encoders as Discriminators Rather Than Generators" (2020). Read and written as
transformers' `ElectraForPreTraining` (the discriminator) and `ElectraForMaskedLM` (the generator) do; `architectures`
says which. The discriminator has no output over the vocabulary: scores are products with the embedding, untrained.
Embeddings of another width than the hidden states, which some published generators have, are not read.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from nextword.core.errors import CheckpointError
from nextword.models.families import bert
from nextword.models.family import Family, Special, check_keys, check_value
from nextword.models.settings import ModelSettings
from nextword.models.transformer import Transformer, TransformerSettings
from nextword.models.weights import Rule, pair, same
from nextword.nn.head import HeadSettings

SUMMARY = {f"summary_{name}" for name in ("activation", "last_dropout", "type", "use_proj")}  # a head for sentences
KEYS = bert.KEYS | SUMMARY | {"embedding_size"}
HONOURED = bert.FAMILY.honoured - {"tied", "next_sentence"}
DISCRIMINATOR, GENERATOR = "ElectraForPreTraining", "ElectraForMaskedLM"


def generates(config: Mapping[str, Any]) -> bool:
    """Whether it is a generator; CheckpointError where it is neither."""
    name = (config.get("architectures") or [DISCRIMINATOR])[0]
    if name not in {DISCRIMINATOR, GENERATOR}:
        raise CheckpointError(
            f"config.json: architectures {name!r} is not known for model_type 'electra'; known: {DISCRIMINATOR}, "
            f"{GENERATOR}"
        )
    return name == GENERATOR


def describe(config: Mapping[str, Any]) -> TransformerSettings:
    """Our description of the blocks from a config.json; CheckpointError naming the key that is wrong or unknown."""
    check_keys(config, KEYS)
    check_value(config, "embedding_size", config.get("hidden_size"))
    check_value(config, "tie_word_embeddings", True)
    shared = {key: value for key, value in config.items() if key in bert.KEYS}
    found = bert.describe(shared | {"model_type": "electra"})
    if generates(config):  # its transform has GELU whatever the blocks have
        return replace(found, head=HeadSettings(bias=True, transform="gelu", norm=found.embedding.norm))
    return replace(found, head=HeadSettings(), heads=("replaced_token",))


def build(config: dict[str, Any]) -> Transformer:
    """The model that a config.json describes."""
    return Transformer(describe(config), config)


def rules(config: Mapping[str, Any]) -> Iterable[Rule]:
    """How transformers names the tensors: the body as in BERT."""
    plain = {**config, "architectures": ["BertForMaskedLM"]}
    for rule in bert.rules(plain):
        if rule.theirs[0].startswith("bert."):
            yield Rule(tuple(name.replace("bert.", "electra.", 1) for name in rule.theirs), rule.ours, rule.transform)
    if generates(config):
        yield from pair("generator_predictions.dense", "head.prepare.dense")
        yield from pair("generator_predictions.LayerNorm", "head.prepare.norm")
        yield same("generator_lm_head.bias", "head.bias")
    else:
        yield from pair("discriminator_predictions.dense", "heads.replaced_token.dense")
        yield from pair("discriminator_predictions.dense_prediction", "heads.replaced_token.odds")


def ignored(config: Mapping[str, Any]) -> frozenset[str]:
    """A table of numbers from 0 on."""
    return frozenset({"electra.embeddings.position_ids"})


def copies(config: Mapping[str, Any]) -> dict[str, str]:
    """The generator's tied output matrix, which some files repeat."""
    return {"generator_lm_head.weight": "electra.embeddings.word_embeddings.weight"} if generates(config) else {}


def fresh(settings: ModelSettings, vocab_size: int, special: Special) -> dict[str, Any]:
    """The config.json of a fresh discriminator, in transformers' layout."""
    config = bert.fresh(settings, vocab_size, special)
    return config | {
        "architectures": [DISCRIMINATOR],
        "embedding_size": config["hidden_size"],
        "model_type": "electra",
        "summary_activation": "gelu",
        "summary_last_dropout": config["hidden_dropout_prob"],
        "summary_type": "first",
        "summary_use_proj": True,
    }


def generator_config(config: Mapping[str, Any], depth: int) -> dict[str, Any]:
    """The config.json of a generator for a discriminator: as wide, with `depth` layers."""
    return {**config, "architectures": [GENERATOR], "num_hidden_layers": depth}


FAMILY = Family(honoured=HONOURED, config=fresh, build=build, rules=rules, ignored=ignored, copies=copies)
