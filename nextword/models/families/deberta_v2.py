"""DeBERTa versions 2 and 3: content and relative position are apart in the attention (`nextword.nn.disentangled`).

He et al., "DeBERTa" (2021), and "DeBERTaV3: Improving DeBERTa using ELECTRA-Style Pre-Training" (2023), which has the
same architecture. Read and written as transformers' `DebertaV2ForMaskedLM` and its classes for other tasks do. The
enhanced decoder of the paper is in no published file and not here.
"""

from collections.abc import Iterable, Mapping
from dataclasses import fields, replace
from typing import Any

from nextword.core.errors import CheckpointError
from nextword.models.disentangled import ConvolutionSettings, DisentangledTransformer, DisentangledTransformerSettings
from nextword.models.encoders import (
    Architecture,
    architecture,
    crowned,
    head_rules,
    output_copies,
    output_rules,
    pairs,
    sequence_head,
    usual,
)
from nextword.models.families import bert
from nextword.models.family import Family, Special, check_keys, check_value, known_activation, typed
from nextword.models.settings import ModelSettings
from nextword.models.transformer import Transformer, TransformerSettings
from nextword.models.weights import Rule, pair, same
from nextword.nn.disentangled import DisentangledSettings, scale_of
from nextword.nn.head import HeadSettings

_OWN = """
    attention_head_size cls_dropout conv_act conv_groups conv_kernel_size embedding_size legacy max_relative_positions
    norm_rel_ebd pooler_dropout pooler_hidden_act pooler_hidden_size pos_att_type position_biased_input position_buckets
    relative_attention share_att_key
"""
KEYS = bert.KEYS | frozenset(_OWN.split())
HONOURED = bert.FAMILY.honoured - {"next_sentence", "tied"}
PREFIX = "deberta."
EPSILON = 1e-7
BUCKETS = 256  # of version 3
ASKS, ASKED = "c2p", "p2c"  # content to position, position to content
PROJECTED = {"query_proj": "query", "key_proj": "key", "value_proj": "value"}
LAYER = {theirs: ours for theirs, ours in bert.LAYER.items() if ".self." not in theirs} | {
    f"attention.self.{theirs}": f"attention.{ours}" for theirs, ours in PROJECTED.items()
}
CLASSES = {"pooler.dense": "sequence.prepare.dense", "classifier": "sequence.classes"}


def top(config: Mapping[str, Any]) -> Architecture:
    """What stands on the body, by the config's `architectures`."""
    activation = known_activation(config, "pooler_hidden_act", "gelu")
    sequence = sequence_head(config, activation, drops=("cls_dropout", "hidden_dropout_prob"))
    return architecture(config, usual(config, "DebertaV2", PREFIX, sequence, CLASSES), "DebertaV2ForMaskedLM")


def describe(config: Mapping[str, Any]) -> TransformerSettings:
    """Our description of the blocks from a config.json; CheckpointError naming the key that is wrong or unknown."""
    check_keys(config, KEYS)
    body = bert.body({"type_vocab_size": 0, "layer_norm_eps": EPSILON, **config})
    plain, norm = body.blocks[0].attention, body.blocks[0].norm
    for key, known in (("embedding_size", body.width), ("pooler_hidden_size", body.width),
                       ("attention_head_size", plain.head_width)):  # fmt: skip
        check_value(config, key, known)
    if not typed(config, "position_biased_input", bool, True):
        body = replace(body, embedding=replace(body.embedding, positions=None))
    asks, asked = (way in ways(config) for way in (ASKS, ASKED))
    scale = scale_of(plain.head_width, asks, asked)
    activation = known_activation(config, "hidden_act", "gelu")
    output = HeadSettings(bias=True, transform=activation, norm=norm)
    if not legacy(config):
        body = replace(body, tied=True)
    if not (typed(config, "relative_attention", bool, False) and (asks or asked)):
        if config.get("relative_attention") or config.get("conv_kernel_size"):
            raise CheckpointError(
                "config.json: relative_attention without a pos_att_type, or a convolution without relative_attention, "
                "is not known to model_type 'deberta-v2'"
            )
        blocks = tuple(replace(block, attention=replace(plain, scale=scale)) for block in body.blocks)
        return crowned(replace(body, blocks=blocks), top(config), output)
    attention = DisentangledSettings(
        **{field.name: getattr(plain, field.name) for field in fields(plain)} | {"scale": scale},
        asks=asks, asked=asked, shared=typed(config, "share_att_key", bool, False),
        position_dropout=body.blocks[0].dropout,
    )  # fmt: skip
    block = replace(body.blocks[0], attention=attention, arrangement="disentangled")
    span, farthest = reach(config, body.max_length)
    kept = {field.name: getattr(body, field.name) for field in fields(body)}
    found = DisentangledTransformerSettings(
        **kept | {"blocks": (block,) * len(body.blocks)},
        span=span, farthest=farthest, distance_norm=norm if normed(config) else None, convolution=convolution(config),
    )  # fmt: skip
    return crowned(found, top(config), output)


def ways(config: Mapping[str, Any]) -> frozenset[str]:
    """The ways in which content and position ask each other."""
    named = config.get("pos_att_type") or []
    found = frozenset(part.strip() for part in (named.lower().split("|") if isinstance(named, str) else named))
    if found - {ASKS, ASKED, ""}:
        raise CheckpointError(f"config.json: pos_att_type {named!r} is not made of {ASKS!r} and {ASKED!r}")
    return found


def reach(config: Mapping[str, Any], max_length: int) -> tuple[int, int | None]:
    """Half the rows of the table of distances, and where its buckets end (None: a row for each distance)."""
    farthest, buckets = config.get("max_relative_positions", -1), config.get("position_buckets", -1)
    farthest = farthest if farthest > 0 else max_length
    if buckets <= 0:
        return farthest, None
    if buckets < 2 or farthest - 1 <= buckets // 2:
        raise CheckpointError(
            f"config.json: position_buckets {buckets} must be at least 2, and half of it less than "
            f"max_relative_positions {farthest} - 1"
        )
    return buckets, farthest


def normed(config: Mapping[str, Any]) -> bool:
    """Whether the table of distances is normed."""
    return "layer_norm" in [part.strip() for part in typed(config, "norm_rel_ebd", str, "none").lower().split("|")]


def convolution(config: Mapping[str, Any]) -> ConvolutionSettings | None:
    """The convolution behind the first layer, where there is one."""
    kernel = config.get("conv_kernel_size") or 0
    if kernel <= 0:
        return None
    if kernel % 2 == 0:
        raise CheckpointError(f"config.json: conv_kernel_size {kernel} must be odd, so that a text keeps its length")
    share = typed(config, "hidden_dropout_prob", float, 0.1)
    return ConvolutionSettings(
        kernel, typed(config, "conv_groups", int, 1), known_activation(config, "conv_act", "tanh"), share
    )


def legacy(config: Mapping[str, Any]) -> bool:
    """Whether the output is called as BERT's is."""
    return bool(typed(config, "legacy", bool, True))


def build(config: dict[str, Any]) -> Transformer:
    """The model that a config.json describes."""
    found = describe(config)
    if isinstance(found, DisentangledTransformerSettings):
        return DisentangledTransformer(found, config)
    return Transformer(found, config)


def rules(config: Mapping[str, Any]) -> Iterable[Rule]:
    """How transformers names the tensors."""
    on, found = top(config), describe(config)
    kept = {"": True, "positions.": found.embedding.positions is not None, "types.": found.embedding.types > 0}
    for theirs, ours in bert.TABLES.items():
        if kept[ours]:
            yield same(f"{on.prefix}embeddings.{theirs}.weight", f"embedding.{ours}weight")
    yield from pair(f"{on.prefix}embeddings.LayerNorm", "embedding.norm")
    own = {}
    if isinstance(found, DisentangledTransformerSettings):
        yield same(f"{on.prefix}encoder.rel_embeddings.weight", "distances.weight")
        if found.distance_norm is not None:
            yield from pair(f"{on.prefix}encoder.LayerNorm", "distances.norm")
        if found.convolution is not None:
            yield from pairs(f"{on.prefix}encoder.conv.", "convolution.", {"conv": "conv", "LayerNorm": "norm"})
        attention = found.blocks[0].attention
        own = {"key": attention.asks and not attention.shared, "query": attention.asked and not attention.shared}
    apart = {f"attention.self.pos_{name}_proj": f"attention.position_{name}" for name, there in own.items() if there}
    for layer in range(len(found.blocks)):
        yield from pairs(f"{on.prefix}encoder.layer.{layer}.", f"blocks.{layer}.", LAYER | apart)
    if on.output and legacy(config):
        yield from pairs("cls.predictions.transform.", "head.prepare.", bert.TRANSFORM)
        yield from output_rules(config, bert.BIAS, bert.DECODER)
    elif on.output:
        yield from pairs("lm_predictions.lm_head.", "head.prepare.", bert.TRANSFORM)
        yield same("lm_predictions.lm_head.bias", "head.bias")
    yield from head_rules(on)


def ignored(config: Mapping[str, Any]) -> frozenset[str]:
    """A table of numbers from 0 on."""
    return frozenset({f"{PREFIX}embeddings.position_ids", "embeddings.position_ids"})


def copies(config: Mapping[str, Any]) -> dict[str, str]:
    """The output matrix and bias of a tied model, which some files repeat."""
    return output_copies(config, f"{PREFIX}embeddings.word_embeddings.weight", bert.BIAS, bert.DECODER)


def fresh(settings: ModelSettings, vocab_size: int, special: Special) -> dict[str, Any]:
    """The config.json of a fresh model as version 3 is, in transformers' layout."""
    config = bert.fresh(settings, vocab_size, special)
    return config | {
        "architectures": ["DebertaV2ForMaskedLM"],
        "layer_norm_eps": EPSILON if settings.norm_eps is None else settings.norm_eps,
        "legacy": True,
        "max_relative_positions": -1,
        "model_type": "deberta-v2",
        "norm_rel_ebd": "layer_norm",
        "pos_att_type": [ASKED, ASKS],
        "position_biased_input": False,
        "position_buckets": min(BUCKETS, max(2, config["max_position_embeddings"] // 2)),
        "relative_attention": True,
        "share_att_key": True,
        "type_vocab_size": 0,
    }


FAMILY = Family(honoured=HONOURED, config=fresh, build=build, rules=rules, ignored=ignored, copies=copies)
