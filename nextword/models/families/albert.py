"""ALBERT: a BERT whose layers share their weights, with narrow embeddings that a matrix widens.

Lan et al., "ALBERT: A Lite BERT for Self-supervised Learning of Language Representations" (2020). Layers form groups
(num_hidden_groups, usually one): all layers of a group are the same inner blocks (inner_group_num), run again and
again. Its second task is the order of two sentences. Read and written as transformers' `AlbertForPreTraining` (masked
tokens and sentence order), `AlbertForMaskedLM` and its classes for other tasks do.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from nextword.core.errors import CheckpointError
from nextword.models import encoders
from nextword.models.families import bert
from nextword.models.families.electra import narrowed
from nextword.models.family import Family, Special, check_keys, known_activation, required, typed
from nextword.models.heads import NEXT_SENTENCE
from nextword.models.settings import ModelSettings
from nextword.models.transformer import Transformer, TransformerSettings
from nextword.models.weights import Rule, pair, same
from nextword.nn.head import HeadSettings

_OWN = """
    classifier_dropout_prob down_scale_factor embedding_size gap_size inner_group_num net_structure_type
    num_hidden_groups num_memory_blocks
"""  # down_scale_factor, gap_size, net_structure_type, num_memory_blocks: relics of Google's files, without effect
KEYS = bert.KEYS | frozenset(_OWN.split())
HONOURED = bert.FAMILY.honoured
NARROW = 128  # width of the embeddings of all published ones
PREFIX = "albert."
DROPS = ("classifier_dropout_prob", "hidden_dropout_prob")
LAYER = {
    "attention.query": "attention.query",
    "attention.key": "attention.key",
    "attention.value": "attention.value",
    "attention.dense": "attention.output",
    "attention.LayerNorm": "attention_norm",
    "ffn": "feedforward.up",
    "ffn_output": "feedforward.down",
    "full_layer_layer_norm": "feedforward_norm",
}
OUTPUT = {"dense": "dense", "LayerNorm": "norm"}
BIAS, DECODER = "predictions.bias", "predictions.decoder"
CLASSES = {f"{PREFIX}pooler": "sequence.prepare.dense", "classifier": "sequence.classes"}
ORDER = {f"{PREFIX}pooler": f"{NEXT_SENTENCE}.prepare.dense", "sop_classifier.classifier": f"{NEXT_SENTENCE}.classes"}


def top(config: Mapping[str, Any]) -> encoders.Architecture:
    """What stands on the body, by the config's `architectures`."""
    sequence = encoders.sequence_head(config, "tanh", drops=DROPS)
    known = encoders.usual(config, "Albert", PREFIX, sequence, CLASSES, "pooler")
    pairs_of = replace(sequence, name=NEXT_SENTENCE)
    known["AlbertForPreTraining"] = encoders.Architecture(PREFIX, output=True, heads=(pairs_of,), names=ORDER)
    return encoders.architecture(config, known, "AlbertForMaskedLM")


def describe(config: Mapping[str, Any]) -> TransformerSettings:
    """Our description of the blocks from a config.json; CheckpointError naming the key that is wrong or unknown."""
    check_keys(config, KEYS)
    activation = known_activation(config, "hidden_act", "gelu_new")
    dropless = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    body = bert.body({**dropless, **config, "hidden_act": activation})
    body = narrowed(body, typed(config, "embedding_size", int, NARROW))
    layers = order(config)
    body = replace(body, blocks=body.blocks[:1] * len(layers), order=layers)
    if body.embedding.narrow is None:  # it has the matrix in any case
        body = replace(body, embedding=replace(body.embedding, narrow=body.width))
    return encoders.crowned(body, top(config), HeadSettings(bias=True, transform=activation, norm=body.embedding.norm))


def order(config: Mapping[str, Any]) -> tuple[int, ...]:
    """Which of the stored blocks each step runs, group by group."""
    depth, groups = required(config, "num_hidden_layers", int), typed(config, "num_hidden_groups", int, 1)
    inner = typed(config, "inner_group_num", int, 1)
    if groups > depth:
        raise CheckpointError(f"config.json: num_hidden_groups {groups} is more than num_hidden_layers {depth}")
    return tuple(int(layer / (depth / groups)) * inner + part for layer in range(depth) for part in range(inner))


def build(config: dict[str, Any]) -> Transformer:
    """The model that a config.json describes."""
    return Transformer(describe(config), config)


def rules(config: Mapping[str, Any]) -> Iterable[Rule]:
    """How transformers names the tensors."""
    on = top(config)
    for theirs, ours in bert.TABLES.items():
        yield same(f"{on.prefix}embeddings.{theirs}.weight", f"embedding.{ours}weight")
    yield from pair(f"{on.prefix}embeddings.LayerNorm", "embedding.norm")
    yield from pair(f"{on.prefix}encoder.embedding_hidden_mapping_in", "embedding.widen")
    inner = typed(config, "inner_group_num", int, 1)
    for block in sorted(set(order(config))):
        group, part = divmod(block, inner)
        stored = f"{on.prefix}encoder.albert_layer_groups.{group}.albert_layers.{part}."
        yield from encoders.pairs(stored, f"blocks.{block}.", LAYER)
    if on.output:
        yield from encoders.pairs("predictions.", "head.prepare.", OUTPUT)
        yield from encoders.output_rules(config, BIAS, DECODER)
    yield from encoders.head_rules(on)


def ignored(config: Mapping[str, Any]) -> frozenset[str]:
    """A table of numbers from 0 on, and layers that are kept in files of models that have no use for them."""
    tables = {f"{prefix}embeddings.position_ids" for prefix in ("", PREFIX)}
    return tables | encoders.unused(top(config), (f"{PREFIX}pooler", "sop_classifier.classifier"))


def copies(config: Mapping[str, Any]) -> dict[str, str]:
    """The output matrix and bias of a tied model, which some files repeat."""
    return encoders.output_copies(config, f"{PREFIX}embeddings.word_embeddings.weight", BIAS, DECODER)


def fresh(settings: ModelSettings, vocab_size: int, special: Special) -> dict[str, Any]:
    """The config.json of a fresh model, in transformers' layout: one group, embeddings of at most 128."""
    config = bert.fresh(settings, vocab_size, special)
    masked = settings.next_sentence is False
    return config | {
        "architectures": ["AlbertForMaskedLM" if masked else "AlbertForPreTraining"],
        "embedding_size": min(NARROW, config["hidden_size"]),
        "hidden_act": "gelu_new",
        "inner_group_num": 1,
        "model_type": "albert",
        "num_hidden_groups": 1,
    }


FAMILY = Family(honoured=HONOURED, config=fresh, build=build, rules=rules, ignored=ignored, copies=copies)
