"""BERT: post-norm encoder with learned positions and token types; it fills masks and judges whether sentences follow.

Devlin et al., "BERT" (2019). Read and written as transformers' `BertForPreTraining` (masked tokens and next sentence)
and `BertForMaskedLM` (masked tokens alone) do; `architectures` says which.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import torch

from nextword.core.errors import CheckpointError, SettingsError
from nextword.models.family import Family, Special, check_keys, check_value, divided, known_activation, required, typed
from nextword.models.settings import ModelSettings
from nextword.models.transformer import Transformer, TransformerSettings
from nextword.models.weights import Rule, Tensors, Transform, pair, same
from nextword.nn.attention import AttentionSettings
from nextword.nn.block import BlockSettings
from nextword.nn.embedding import EmbeddingSettings
from nextword.nn.feedforward import FeedForwardSettings
from nextword.nn.head import HeadSettings
from nextword.nn.init import STANDARD_DEVIATION
from nextword.nn.mask import Reach
from nextword.nn.norm import NormSettings

_KEYS = """
    add_cross_attention attention_probs_dropout_prob classifier_dropout gradient_checkpointing hidden_act
    hidden_dropout_prob hidden_size intermediate_size is_decoder layer_norm_eps max_position_embeddings
    num_attention_heads num_hidden_layers position_embedding_type tie_word_embeddings type_vocab_size vocab_size
"""
KEYS = frozenset(_KEYS.split())
_HONOURED = "width depth heads ffn_width max_length tied norm_eps dropout next_sentence"
ARCHITECTURES = {"BertForPreTraining": ("next_sentence",), "BertForMaskedLM": ()}  # and their further heads
TYPES = 2
HEAD_WIDTH = 64


def further_heads(config: Mapping[str, Any]) -> tuple[str, ...]:
    """The heads beside the output, by the config's `architectures`; CheckpointError for one without an output."""
    name = (config.get("architectures") or ["BertForMaskedLM"])[0]
    if name not in ARCHITECTURES:
        raise CheckpointError(
            f"config.json: architectures {name!r} is not known for model_type 'bert': it has no output for masked "
            f"tokens; known: {', '.join(ARCHITECTURES)}"
        )
    return ARCHITECTURES[name]


def describe(config: Mapping[str, Any]) -> TransformerSettings:
    """Our description of the blocks from a config.json; CheckpointError naming the key that is wrong or unknown."""
    check_keys(config, KEYS)
    for key, known in (("is_decoder", False), ("add_cross_attention", False), ("position_embedding_type", "absolute")):
        check_value(config, key, known)
    width, heads = required(config, "hidden_size", int), required(config, "num_attention_heads", int)
    head_width = divided(width, heads, ("hidden_size", "num_attention_heads"))
    norm = NormSettings(width, typed(config, "layer_norm_eps", float, 1e-12), "layer")
    activation = known_activation(config, "hidden_act", "gelu")
    drop = typed(config, "hidden_dropout_prob", float, 0.1)
    attention = AttentionSettings(
        **{"width": width, "heads": heads, "kv_heads": heads, "head_width": head_width, "bias": True},
        dropout=typed(config, "attention_probs_dropout_prob", float, 0.1),
        reach=Reach(causal=False),
        rotary=False,
    )
    ffn = FeedForwardSettings(width, required(config, "intermediate_size", int), activation, bias=True, gated=False)
    block = BlockSettings(norm, attention, ffn, "post", dropout=drop)
    max_length = typed(config, "max_position_embeddings", int, 512)
    types = typed(config, "type_vocab_size", int, TYPES)
    return TransformerSettings(
        kind="encoder",
        blocks=(block,) * required(config, "num_hidden_layers", int),
        norm=None,
        vocab_size=required(config, "vocab_size", int),
        width=width,
        max_length=max_length,
        tied=typed(config, "tie_word_embeddings", bool, True),
        embedding=EmbeddingSettings("learned", max_length, types, norm, dropout=drop),
        head=HeadSettings(bias=True, transform=activation, norm=norm),
        heads=further_heads(config),
    )


def build(config: dict[str, Any]) -> Transformer:
    """The model that a config.json describes."""
    return Transformer(describe(config), config)


def rules(config: Mapping[str, Any]) -> list[Rule]:
    """How transformers names the tensors."""
    embeddings = {"word_embeddings": "", "position_embeddings": "positions.", "token_type_embeddings": "types."}
    found = [same(f"bert.embeddings.{theirs}.weight", f"embedding.{ours}weight") for theirs, ours in embeddings.items()]
    found += pair("bert.embeddings.LayerNorm", "embedding.norm")
    for layer in range(config["num_hidden_layers"]):
        theirs, ours = f"bert.encoder.layer.{layer}", f"blocks.{layer}"
        for name in ("query", "key", "value"):
            found += pair(f"{theirs}.attention.self.{name}", f"{ours}.attention.{name}")
        found += pair(f"{theirs}.attention.output.dense", f"{ours}.attention.output")
        found += pair(f"{theirs}.attention.output.LayerNorm", f"{ours}.attention_norm")
        found += pair(f"{theirs}.intermediate.dense", f"{ours}.feedforward.up")
        found += pair(f"{theirs}.output.dense", f"{ours}.feedforward.down")
        found += pair(f"{theirs}.output.LayerNorm", f"{ours}.feedforward_norm")
    found += pair("cls.predictions.transform.dense", "head.prepare.dense")
    found += pair("cls.predictions.transform.LayerNorm", "head.prepare.norm")
    if config.get("tie_word_embeddings") is False:
        found.append(same("cls.predictions.decoder.weight", "head.weight"))
        found.append(Rule((BIAS, f"{DECODER}.bias"), ("head.bias",), TWICE))
    else:
        found.append(same(BIAS, "head.bias"))
    if further_heads(config):
        found += pair("bert.pooler.dense", "heads.next_sentence.pool")
        found += pair("cls.seq_relationship", "heads.next_sentence.classes")
    return found


def _one_of_both(tensors: Tensors) -> Tensors:
    if not torch.equal(*tensors):
        raise CheckpointError(f"{BIAS!r} and '{DECODER}.bias' differ: they are one bias, of which the latter is used")
    return tensors[1:]


DECODER, BIAS = "cls.predictions.decoder", "cls.predictions.bias"
TWICE = Transform(_one_of_both, lambda tensors: (tensors[0], tensors[0].clone()))


def older(names: Iterable[str]) -> dict[str, str]:
    """Norms as TensorFlow named them, in Google's own files."""
    ends = {"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"}
    return {name: name.removesuffix(old) + new for name in names for old, new in ends.items() if name.endswith(old)}


def ignored(config: Mapping[str, Any]) -> frozenset[str]:
    """A table of numbers from 0 on, and heads that are kept in files of models that have no use for them."""
    unused = () if further_heads(config) else ("bert.pooler.dense", "cls.seq_relationship")
    return frozenset({"bert.embeddings.position_ids", *(f"{name}.{kind}" for name in unused for kind in KINDS)})


KINDS = ("weight", "bias")


def copies(config: Mapping[str, Any]) -> dict[str, str]:
    """The output matrix and bias of a tied model, which some files repeat."""
    tied = {f"{DECODER}.weight": "bert.embeddings.word_embeddings.weight", f"{DECODER}.bias": BIAS}
    return {} if config.get("tie_word_embeddings") is False else tied


def fresh(settings: ModelSettings, vocab_size: int, special: Special) -> dict[str, Any]:
    """The config.json of a fresh BERT, in transformers' layout."""
    width = settings.width or 256
    heads = settings.heads or max(1, width // HEAD_WIDTH)
    divided(width, heads, ("model.width", "model.heads"), SettingsError)
    dropout = settings.dropout or 0.0
    return {
        "architectures": ["BertForMaskedLM" if settings.next_sentence is False else "BertForPreTraining"],
        "attention_probs_dropout_prob": dropout,
        "bos_token_id": special.bos_id,
        "dtype": "float32",
        "eos_token_id": special.eos_id,
        "hidden_act": "gelu",
        "hidden_dropout_prob": dropout,
        "hidden_size": width,
        "initializer_range": STANDARD_DEVIATION,
        "intermediate_size": settings.ffn_width or 4 * width,
        "layer_norm_eps": 1e-12 if settings.norm_eps is None else settings.norm_eps,
        "max_position_embeddings": settings.max_length or 512,
        "model_type": "bert",
        "num_attention_heads": heads,
        "num_hidden_layers": settings.depth or 4,
        "pad_token_id": special.pad_id,
        "tie_word_embeddings": True if settings.tied is None else settings.tied,
        "type_vocab_size": TYPES,
        "vocab_size": vocab_size,
    }


FAMILY = Family(
    honoured=frozenset(_HONOURED.split()),
    config=fresh,
    build=build,
    rules=rules,
    ignored=ignored,
    copies=copies,
    older=older,
)
