"""DistilBERT: every second layer of a BERT, taught by it, without token types.

Sanh et al., "DistilBERT, a distilled version of BERT" (2019). Read and written as transformers' `DistilBertForMaskedLM`
and its classes for other tasks do.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from nextword.models.encoders import Architecture, architecture, crowned, head_rules, pairs, sequence_head, tied, usual
from nextword.models.families import bert
from nextword.models.family import Family, Special, check_keys, known_activation
from nextword.models.settings import ModelSettings
from nextword.models.transformer import Transformer, TransformerSettings
from nextword.models.weights import Rule, pair, same
from nextword.nn.head import HeadSettings

SIZES = {
    "activation": "hidden_act",
    "attention_dropout": "attention_probs_dropout_prob",
    "dim": "hidden_size",
    "dropout": "hidden_dropout_prob",
    "hidden_dim": "intermediate_size",
    "max_position_embeddings": "max_position_embeddings",
    "n_heads": "num_attention_heads",
    "n_layers": "num_hidden_layers",
    "tie_word_embeddings": "tie_word_embeddings",
    "vocab_size": "vocab_size",
}  # its key -> BERT's
_OWN = "output_past qa_dropout seq_classif_dropout sinusoidal_pos_embds tie_weights_"  # waves: stored in the table
KEYS = frozenset(SIZES) | frozenset(_OWN.split())
HONOURED = bert.FAMILY.honoured - {"next_sentence", "norm_eps"}
EPSILON = 1e-12
PREFIX = "distilbert."
LAYER = {
    "attention.q_lin": "attention.query",
    "attention.k_lin": "attention.key",
    "attention.v_lin": "attention.value",
    "attention.out_lin": "attention.output",
    "sa_layer_norm": "attention_norm",
    "ffn.lin1": "feedforward.up",
    "ffn.lin2": "feedforward.down",
    "output_layer_norm": "feedforward_norm",
}
CLASSES = {"pre_classifier": "sequence.prepare.dense", "classifier": "sequence.classes"}
OUTPUT = {"transform": "dense", "layer_norm": "norm"}


def top(config: Mapping[str, Any]) -> Architecture:
    """What stands on the body, by the config's `architectures`."""
    sequence = sequence_head(config, "relu", width="dim", drops=("seq_classif_dropout",))
    return architecture(config, usual(config, "DistilBert", PREFIX, sequence, CLASSES), "DistilBertForMaskedLM")


def describe(config: Mapping[str, Any]) -> TransformerSettings:
    """Our description of the blocks from a config.json; CheckpointError naming the key that is wrong or unknown."""
    check_keys(config, KEYS)
    body = bert.body(
        {SIZES[key]: value for key, value in config.items() if key in SIZES}
        | {"layer_norm_eps": EPSILON, "type_vocab_size": 0, "model_type": "distilbert"}
    )
    activation = known_activation(config, "activation", "gelu")
    return crowned(body, top(config), HeadSettings(bias=True, transform=activation, norm=body.blocks[0].norm))


def build(config: dict[str, Any]) -> Transformer:
    """The model that a config.json describes."""
    return Transformer(describe(config), config)


def rules(config: Mapping[str, Any]) -> Iterable[Rule]:
    """How transformers names the tensors."""
    on = top(config)
    yield same(f"{on.prefix}embeddings.word_embeddings.weight", "embedding.weight")
    yield same(f"{on.prefix}embeddings.position_embeddings.weight", "embedding.positions.weight")
    yield from pair(f"{on.prefix}embeddings.LayerNorm", "embedding.norm")
    for layer in range(config["n_layers"]):
        yield from pairs(f"{on.prefix}transformer.layer.{layer}.", f"blocks.{layer}.", LAYER)
    if on.output:
        yield from pairs("vocab_", "head.prepare.", OUTPUT)
        yield same("vocab_projector.bias", "head.bias")
        if not tied(config):
            yield same("vocab_projector.weight", "head.weight")
    yield from head_rules(on)


def copies(config: Mapping[str, Any]) -> dict[str, str]:
    """The tied output matrix, which some files repeat."""
    return {"vocab_projector.weight": f"{PREFIX}embeddings.word_embeddings.weight"} if tied(config) else {}


def fresh(settings: ModelSettings, vocab_size: int, special: Special) -> dict[str, Any]:
    """The config.json of a fresh model, in transformers' layout."""
    sizes = bert.fresh(replace(settings, next_sentence=False), vocab_size, special)
    found = {key: sizes[theirs] for key, theirs in SIZES.items()}
    kept = ("bos_token_id", "dtype", "eos_token_id", "initializer_range", "pad_token_id")
    return found | {key: sizes[key] for key in kept} | {
        "architectures": ["DistilBertForMaskedLM"],
        "model_type": "distilbert",
        "sinusoidal_pos_embds": False,
    }  # fmt: skip


FAMILY = Family(honoured=HONOURED, config=fresh, build=build, rules=rules, copies=copies)
