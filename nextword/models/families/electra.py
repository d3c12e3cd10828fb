"""ELECTRA: an encoder built like BERT that judges for every token whether it stood there or was put in.

Clark et al., "ELECTRA: Pre-training Text Encoders as Discriminators Rather Than Generators" (2020). Read and written as
transformers' `ElectraForPreTraining` (the discriminator), `ElectraForMaskedLM` (the generator) and its classes for
other tasks do; `architectures` says which. Small ones have embeddings that are narrower than the stream, as ALBERT's.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from nextword.models.encoders import Architecture, architecture, crowned, head_rules, pairs, sequence_head, tied, usual
from nextword.models.families import bert
from nextword.models.family import Family, Special, check_keys, known_activation, required, typed
from nextword.models.heads import REPLACED_TOKEN, FurtherHeadSettings
from nextword.models.settings import ModelSettings
from nextword.models.transformer import Transformer, TransformerSettings
from nextword.models.weights import Rule, pair, same
from nextword.nn.head import HeadSettings

SUMMARY = {f"summary_{name}" for name in ("activation", "last_dropout", "type", "use_proj")}  # for multiple choice
KEYS = bert.KEYS | SUMMARY | {"embedding_size"}
HONOURED = bert.FAMILY.honoured - {"tied", "next_sentence"}
DISCRIMINATOR, GENERATOR = "ElectraForPreTraining", "ElectraForMaskedLM"


def top(config: Mapping[str, Any]) -> Architecture:
    """What stands on the body, by the config's `architectures`."""
    activation = known_activation(config, "hidden_act", "gelu")
    replaced = FurtherHeadSettings(REPLACED_TOKEN, config["hidden_size"], None, transform=activation)
    tell = "discriminator_predictions.dense"
    names = {tell: f"{REPLACED_TOKEN}.prepare.dense", f"{tell}_prediction": f"{REPLACED_TOKEN}.classes"}
    sequence = sequence_head(config, "gelu", drops=bert.DROPS)
    known = usual(config, "Electra", "electra.", sequence, CLASSES)
    known[DISCRIMINATOR] = Architecture("electra.", heads=(replaced,), names=names)
    return architecture(config, known, DISCRIMINATOR)


CLASSES = {"classifier.dense": "sequence.prepare.dense", "classifier.out_proj": "sequence.classes"}


def describe(config: Mapping[str, Any]) -> TransformerSettings:
    """Our description of the blocks from a config.json; CheckpointError naming the key that is wrong or unknown."""
    check_keys(config, KEYS)
    found = narrowed(bert.body(config), typed(config, "embedding_size", int, 128))
    output = HeadSettings(bias=True, transform="gelu", norm=found.embedding.norm)  # GELU whatever the blocks have
    return crowned(found, top(config), output)


def narrowed(body: TransformerSettings, width: int) -> TransformerSettings:
    """A body whose embeddings are of a width of their own, and widened by a matrix where it is not the stream's."""
    if width == body.width:
        return body
    norm = replace(body.embedding.norm, width=width)
    return replace(body, embedding=replace(body.embedding, norm=norm, narrow=width))


def build(config: dict[str, Any]) -> Transformer:
    """The model that a config.json describes."""
    return Transformer(describe(config), config)


def rules(config: Mapping[str, Any]) -> Iterable[Rule]:
    """How transformers names the tensors: the body as in BERT."""
    on = top(config)
    yield from bert.body_rules(config, on.prefix)
    if typed(config, "embedding_size", int, 128) != required(config, "hidden_size", int):
        yield from pair(f"{on.prefix}embeddings_project", "embedding.widen")
    if on.output:
        yield from pairs("generator_predictions.", "head.prepare.", bert.TRANSFORM)
        yield same("generator_lm_head.bias", "head.bias")
        if not tied(config):
            yield same("generator_lm_head.weight", "head.weight")
    yield from head_rules(on)


def ignored(config: Mapping[str, Any]) -> frozenset[str]:
    """A table of numbers from 0 on."""
    return frozenset({"electra.embeddings.position_ids", "embeddings.position_ids"})


def copies(config: Mapping[str, Any]) -> dict[str, str]:
    """The generator's tied output matrix, which some files repeat."""
    return {"generator_lm_head.weight": "electra.embeddings.word_embeddings.weight"} if tied(config) else {}


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
