"""ModernBERT: an encoder built as today's decoders are, with most layers seeing only what is near.

Warner et al., "Smarter, Better, Faster, Longer: A Modern Bidirectional Encoder" (2024). Norm before each part (the
first layer's is the embedding's), rotary positions, gated feed-forwards whose two wide matrices are one in files, as
are queries, keys and values; hardly a bias. Layers named "sliding_attention" see local_attention/2 places to either
side and have rotary angles of their own. Read and written as transformers' `ModernBertForMaskedLM` and its classes
for other tasks do.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import torch

from nextword.core.errors import CheckpointError, SettingsError
from nextword.models.encoders import Architecture, architecture, crowned, head_rules, tied, usual
from nextword.models.family import Family, Special, check_keys, check_value, divided, known_activation, required, typed
from nextword.models.heads import SEQUENCE, SPAN, TOKEN, FurtherHeadSettings
from nextword.models.labels import labels
from nextword.models.rope_config import read_rope
from nextword.models.settings import ModelSettings
from nextword.models.transformer import Transformer, TransformerSettings
from nextword.models.weights import Rule, Transform, same
from nextword.nn.attention import AttentionSettings
from nextword.nn.block import BlockSettings
from nextword.nn.embedding import EmbeddingSettings
from nextword.nn.feedforward import FeedForwardSettings
from nextword.nn.head import HeadSettings
from nextword.nn.init import STANDARD_DEVIATION
from nextword.nn.mask import Reach
from nextword.nn.norm import NormSettings

_KEYS = """
    attention_bias attention_dropout classifier_activation classifier_bias classifier_dropout classifier_pooling
    cls_token_id decoder_bias deterministic_flash_attn embedding_dropout global_attn_every_n_layers global_rope_theta
    gradient_checkpointing hidden_activation hidden_size initializer_cutoff_factor intermediate_size layer_norm_eps
    layer_types local_attention local_rope_theta max_position_embeddings mlp_bias mlp_dropout norm_bias norm_eps
    num_attention_heads num_hidden_layers position_embedding_type reference_compile repad_logits_with_grad
    rope_parameters rope_scaling sparse_pred_ignore_index sparse_prediction tie_word_embeddings vocab_size
"""  # layer_norm_eps beside norm_eps: a relic without effect
KEYS = frozenset(_KEYS.split())
HONOURED = frozenset(["width", "depth", "heads", "ffn_width", "max_length", "tied", "rope_base", "norm_eps", "dropout"])
NEAR, ALL = "sliding_attention", "full_attention"
BASES = {ALL: 160_000.0, NEAR: 10_000.0}
OLDER_BASES = {ALL: "global_rope_theta", NEAR: "local_rope_theta"}
EVERY = 3  # layer of which one sees all
WINDOW, HEAD_WIDTH, FFN_MULTIPLE = 128, 64, 64
PREFIX = "model."


def top(config: Mapping[str, Any]) -> Architecture:
    """What stands on the body, by the config's `architectures`: classes have a layer before them in every task."""
    width = required(config, "hidden_size", int)
    pool = {"cls": "first", "mean": "mean"}.get(typed(config, "classifier_pooling", str, "cls"))
    if pool is None:
        raise CheckpointError(f"config.json: classifier_pooling {config['classifier_pooling']!r} is not cls or mean")
    sequence = FurtherHeadSettings(
        **{"name": SEQUENCE, "width": width, "labels": len(labels(config)), "pool": pool},
        transform=known_activation(config, "classifier_activation", "gelu"),
        transform_bias=typed(config, "classifier_bias", bool, False),
        norm=norm_of(config),
        dropout=typed(config, "classifier_dropout", float, 0.0),
    )
    known = usual(config, "ModernBert", PREFIX, sequence, {})
    token, span = replace(sequence, name=TOKEN, pool=None), replace(sequence, name=SPAN, pool=None, labels=2)
    for task, head in (("Sequence", sequence), ("Token", token)):
        known[f"ModernBertFor{task}Classification"] = Architecture(PREFIX, heads=(head,))
    known["ModernBertForQuestionAnswering"] = Architecture(PREFIX, heads=(span,))
    return architecture(config, known, "ModernBertForMaskedLM")


def norm_of(config: Mapping[str, Any]) -> NormSettings:
    """The norm that stands everywhere."""
    kind = "layer" if typed(config, "norm_bias", bool, False) else "plain layer"
    return NormSettings(required(config, "hidden_size", int), typed(config, "norm_eps", float, 1e-5), kind)


def describe(config: Mapping[str, Any]) -> TransformerSettings:
    """Our description of the blocks from a config.json; CheckpointError naming the key that is wrong or unknown."""
    check_keys(config, KEYS)
    width, heads = required(config, "hidden_size", int), required(config, "num_attention_heads", int)
    head_width = divided(width, heads, ("hidden_size", "num_attention_heads"))
    norm, drop = norm_of(config), typed(config, "attention_dropout", float, 0.0)
    half = typed(config, "local_attention", int, WINDOW) // 2
    attention = AttentionSettings(
        **{"width": width, "heads": heads, "kv_heads": heads, "head_width": head_width, "dropout": drop},
        bias=typed(config, "attention_bias", bool, False),
    )
    ffn = FeedForwardSettings(
        **{"width": width, "ffn_width": required(config, "intermediate_size", int)},
        activation=known_activation(config, "hidden_activation", "gelu"),
        bias=typed(config, "mlp_bias", bool, False),
        dropout=typed(config, "mlp_dropout", float, 0.0),
    )
    types, max_length = layer_types(config), typed(config, "max_position_embeddings", int, 8192)
    blocks = [
        BlockSettings(norm, replace(attention, reach=Reach(False, half + 1 if kind == NEAR else None)), ffn)
        for kind in types
    ]
    blocks[0] = replace(blocks[0], arrangement="pre-normed")
    body = TransformerSettings(
        kind="encoder", blocks=tuple(blocks), norm=norm, width=width, max_length=max_length,
        rope=rope(config, ALL, max_length), near_rope=rope(config, NEAR, max_length),
        vocab_size=required(config, "vocab_size", int), tied=tied(config),
        embedding=EmbeddingSettings(norm=norm, dropout=typed(config, "embedding_dropout", float, 0.0)),
    )  # fmt: skip
    before = HeadSettings(
        bias=typed(config, "decoder_bias", bool, True),
        transform=known_activation(config, "classifier_activation", "gelu"),
        transform_bias=typed(config, "classifier_bias", bool, False),
        norm=norm,
    )
    return crowned(body, top(config), before)


def layer_types(config: Mapping[str, Any]) -> list[str]:
    """For each layer whether it sees all or what is near."""
    depth = required(config, "num_hidden_layers", int)
    every = typed(config, "global_attn_every_n_layers", int, EVERY)
    found = typed(config, "layer_types", list, None) or [NEAR if layer % every else ALL for layer in range(depth)]
    if len(found) != depth or set(found) - {NEAR, ALL}:
        raise CheckpointError(
            f"config.json: layer_types must name one of {ALL}, {NEAR} for each of {depth} layers, received {found!r}"
        )
    return list(found)


def rope(config: Mapping[str, Any], kind: str, max_length: int) -> Any:
    """The rotary positions of the layers of a kind, in both layouts of the config."""
    tables = typed(config, "rope_parameters", dict, None)
    if tables is None:
        check_value(config, "rope_scaling", None)
        return read_rope({"rope_theta": config.get(OLDER_BASES[kind], BASES[kind])}, max_length)
    table = tables.get(kind) or {}
    return read_rope({"rope_parameters": {"rope_theta": BASES[kind], **table}}, max_length)


def build(config: dict[str, Any]) -> Transformer:
    """The model that a config.json describes."""
    return Transformer(describe(config), config)


def rules(config: Mapping[str, Any]) -> Iterable[Rule]:
    """How transformers names the tensors."""
    on, found = top(config), describe(config)
    normed = ["weight", "bias"] if found.norm.kind == "layer" else ["weight"]
    yield same(f"{on.prefix}embeddings.tok_embeddings.weight", "embedding.weight")
    yield from named(f"{on.prefix}embeddings.norm", "embedding.norm", normed)
    yield from named(f"{on.prefix}final_norm", "norm", normed)
    for layer, block in enumerate(found.blocks):
        theirs, ours = f"{on.prefix}layers.{layer}.", f"blocks.{layer}."
        if layer:
            yield from named(f"{theirs}attn_norm", f"{ours}attention_norm", normed)
        yield from named(f"{theirs}mlp_norm", f"{ours}feedforward_norm", normed)
        for kind in ["weight", "bias"][: 1 + block.attention.bias]:
            parts = tuple(f"{ours}attention.{part}.{kind}" for part in ("query", "key", "value"))
            yield Rule((f"{theirs}attn.Wqkv.{kind}",), parts, THREE)
            yield same(f"{theirs}attn.Wo.{kind}", f"{ours}attention.output.{kind}")
        for kind in ["weight", "bias"][: 1 + block.feedforward.bias]:
            parts = tuple(f"{ours}feedforward.{part}.{kind}" for part in ("gate", "up"))
            yield Rule((f"{theirs}mlp.Wi.{kind}",), parts, TWO)
            yield same(f"{theirs}mlp.Wo.{kind}", f"{ours}feedforward.down.{kind}")
    biased = ["weight", "bias"][: 1 + typed(config, "classifier_bias", bool, False)]
    for head in on.heads:
        yield from named("head.dense", f"heads.{head.name}.prepare.dense", biased)
        yield from named("head.norm", f"heads.{head.name}.prepare.norm", normed)
        yield from named("classifier", f"heads.{head.name}.classes", ["weight", "bias"])
    if on.output:
        yield from named("head.dense", "head.prepare.dense", biased)
        yield from named("head.norm", "head.prepare.norm", normed)
        yield from named("decoder", "head", ["weight"] * (not tied(config)) + ["bias"] * found.head.bias)
    yield from head_rules(on)


def named(theirs: str, ours: str, kinds: Iterable[str]) -> list[Rule]:
    """The rules for a layer's tensors of these kinds."""
    return [same(f"{theirs}.{kind}", f"{ours}.{kind}") for kind in kinds]


def split(count: int) -> Transform:
    """One matrix in files is `count` of ours, one below the other."""
    return Transform(lambda one: one[0].chunk(count), lambda several: (torch.cat(several),))


THREE, TWO = split(3), split(2)


def copies(config: Mapping[str, Any]) -> dict[str, str]:
    """The tied output matrix, which some files repeat."""
    return {"decoder.weight": f"{PREFIX}embeddings.tok_embeddings.weight"} if tied(config) else {}


def fresh(settings: ModelSettings, vocab_size: int, special: Special) -> dict[str, Any]:
    """The config.json of a fresh model, in transformers' layout."""
    width, depth = settings.width or 256, settings.depth or 4
    heads = settings.heads or max(1, width // HEAD_WIDTH)
    if divided(width, heads, ("model.width", "model.heads"), SettingsError) % 2:
        raise SettingsError(f"model.width {width} / model.heads {heads} must be even: rotary positions turn pairs")
    dropout = settings.dropout or 0.0
    return {
        "architectures": ["ModernBertForMaskedLM"],
        "attention_dropout": dropout,
        "bos_token_id": special.bos_id,
        "dtype": "float32",
        "embedding_dropout": dropout,
        "eos_token_id": special.eos_id,
        "hidden_activation": "gelu",
        "hidden_size": width,
        "initializer_range": STANDARD_DEVIATION,
        "intermediate_size": settings.ffn_width or -(-8 * width // (3 * FFN_MULTIPLE)) * FFN_MULTIPLE,
        "layer_types": [NEAR if layer % EVERY else ALL for layer in range(depth)],
        "local_attention": WINDOW,
        "max_position_embeddings": settings.max_length or 512,
        "mlp_dropout": dropout,
        "model_type": "modernbert",
        "norm_eps": 1e-5 if settings.norm_eps is None else settings.norm_eps,
        "num_attention_heads": heads,
        "num_hidden_layers": depth,
        "pad_token_id": special.pad_id,
        "rope_parameters": {
            ALL: {"rope_theta": settings.rope_base or BASES[ALL], "rope_type": "default"},
            NEAR: {"rope_theta": BASES[NEAR], "rope_type": "default"},
        },
        "tie_word_embeddings": True if settings.tied is None else settings.tied,
        "vocab_size": vocab_size,
    }


FAMILY = Family(honoured=HONOURED, config=fresh, build=build, rules=rules, copies=copies)
