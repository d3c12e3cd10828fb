"""BERT: post-norm encoder with learned positions and token types; it fills masks and judges whether sentences follow.

Devlin et al., "BERT" (2019); the multilingual one has another vocabulary and is otherwise the same. Read and written as
transformers' `BertForPreTraining` (masked tokens and next sentence), `BertForMaskedLM` (masked tokens alone) and its
classes for other tasks do; `architectures` says which.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from nextword.core.errors import SettingsError
from nextword.models.encoders import (
    Architecture,
    architecture,
    crowned,
    head_rules,
    output_copies,
    output_rules,
    pairs,
    sequence_head,
    tied,
    unused,
    usual,
)
from nextword.models.family import Family, Special, check_keys, check_value, divided, known_activation, required, typed
from nextword.models.heads import NEXT_SENTENCE, FurtherHeadSettings
from nextword.models.settings import ModelSettings
from nextword.models.transformer import Transformer, TransformerSettings
from nextword.models.weights import Rule, pair, same
from nextword.nn.attention import AttentionSettings
from nextword.nn.block import BlockSettings
from nextword.nn.embedding import EmbeddingSettings
from nextword.nn.feedforward import FeedForwardSettings
from nextword.nn.head import HeadSettings
from nextword.nn.init import STANDARD_DEVIATION
from nextword.nn.mask import Reach
from nextword.nn.norm import NormSettings

_KEYS = """
    add_cross_attention attention_probs_dropout_prob classifier_dropout directionality gradient_checkpointing hidden_act
    hidden_dropout_prob hidden_size intermediate_size is_decoder is_encoder_decoder language layer_norm_eps
    max_position_embeddings name num_attention_heads num_hidden_layers output_past pooler_fc_size
    pooler_num_attention_heads pooler_num_fc_layers pooler_size_per_head pooler_type position_embedding_type
    pruned_heads tie_word_embeddings type_vocab_size vocab_size
"""  # directionality, language, name, output_past, pooler_...: relics of published files, without effect
KEYS = frozenset(_KEYS.split())
_HONOURED = "width depth heads ffn_width max_length tied norm_eps dropout next_sentence"
PLAIN = {
    "add_cross_attention": False,
    "is_decoder": False,
    "is_encoder_decoder": False,
    "position_embedding_type": "absolute",
    "pruned_heads": {},
}  # keys of which one value alone is known
TYPES = 2
HEAD_WIDTH = 64
DROPS = ("classifier_dropout", "hidden_dropout_prob")  # of a head for classes: the first that is there
TABLES = {"word_embeddings": "", "position_embeddings": "positions.", "token_type_embeddings": "types."}
LAYER = {
    "attention.self.query": "attention.query",
    "attention.self.key": "attention.key",
    "attention.self.value": "attention.value",
    "attention.output.dense": "attention.output",
    "attention.output.LayerNorm": "attention_norm",
    "intermediate.dense": "feedforward.up",
    "output.dense": "feedforward.down",
    "output.LayerNorm": "feedforward_norm",
}
WORDS, DECODER, BIAS = "bert.embeddings.word_embeddings.weight", "cls.predictions.decoder", "cls.predictions.bias"
TRANSFORM = {"dense": "dense", "LayerNorm": "norm"}
POOLER = "bert.pooler.dense"


def top(config: Mapping[str, Any]) -> Architecture:
    """What stands on the body, by the config's `architectures`."""
    pairs_of = FurtherHeadSettings(NEXT_SENTENCE, required(config, "hidden_size", int), 2, "first", "tanh")
    names = {POOLER: f"{NEXT_SENTENCE}.prepare.dense", "cls.seq_relationship": f"{NEXT_SENTENCE}.classes"}
    classes = {POOLER: "sequence.prepare.dense", "classifier": "sequence.classes"}
    known = usual(config, "Bert", "bert.", sequence_head(config, "tanh", drops=DROPS), classes, "pooler.dense")
    known["BertForPreTraining"] = Architecture("bert.", output=True, heads=(pairs_of,), names=names)
    known["BertForNextSentencePrediction"] = Architecture("bert.", heads=(pairs_of,), names=names)
    return architecture(config, known, "BertForMaskedLM")


def describe(config: Mapping[str, Any]) -> TransformerSettings:
    """Our description of the blocks from a config.json; CheckpointError naming the key that is wrong or unknown."""
    check_keys(config, KEYS)
    found = body(config)
    activation = known_activation(config, "hidden_act", "gelu")
    return crowned(found, top(config), HeadSettings(bias=True, transform=activation, norm=found.blocks[0].norm))


def body(config: Mapping[str, Any]) -> TransformerSettings:
    """Embeddings and blocks, without what stands on them; those of BERT's descendants have the same keys."""
    for key, known in PLAIN.items():
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
    types = 0 if config.get("type_vocab_size") == 0 else typed(config, "type_vocab_size", int, TYPES)
    return TransformerSettings(
        kind="encoder",
        blocks=(block,) * required(config, "num_hidden_layers", int),
        norm=None,
        vocab_size=required(config, "vocab_size", int),
        width=width,
        max_length=max_length,
        tied=tied(config),
        embedding=EmbeddingSettings("learned", max_length, types=types, norm=norm, dropout=drop),
    )


def build(config: dict[str, Any]) -> Transformer:
    """The model that a config.json describes."""
    return Transformer(describe(config), config)


def rules(config: Mapping[str, Any]) -> list[Rule]:
    """How transformers names the tensors."""
    on = top(config)
    found = body_rules(config, on.prefix)
    if on.output:
        found += pairs("cls.predictions.transform.", "head.prepare.", TRANSFORM)
        found += output_rules(config, BIAS, DECODER)
    return found + head_rules(on)


def body_rules(config: Mapping[str, Any], prefix: str) -> list[Rule]:
    """Those of embeddings and blocks, whose names begin with `prefix`; BERT's descendants have the same."""
    found = [same(f"{prefix}embeddings.{theirs}.weight", f"embedding.{ours}weight") for theirs, ours in TABLES.items()]
    found += pair(f"{prefix}embeddings.LayerNorm", "embedding.norm")
    for layer in range(config["num_hidden_layers"]):
        found += pairs(f"{prefix}encoder.layer.{layer}.", f"blocks.{layer}.", LAYER)
    return found


def older(names: Iterable[str], config: Mapping[str, Any]) -> dict[str, str]:
    """Norms as TensorFlow named them, in Google's own files."""
    ends = {"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"}
    return {name: name.removesuffix(old) + new for name in names for old, new in ends.items() if name.endswith(old)}


def ignored(config: Mapping[str, Any]) -> frozenset[str]:
    """A table of numbers from 0 on, and heads that are kept in files of models that have no use for them."""
    tables = {f"{prefix}embeddings.position_ids" for prefix in ("", "bert.")}
    return tables | unused(top(config), (POOLER, "cls.seq_relationship"))


def copies(config: Mapping[str, Any]) -> dict[str, str]:
    """The output matrix and bias of a tied model, which some files repeat."""
    return output_copies(config, WORDS, BIAS, DECODER)


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
