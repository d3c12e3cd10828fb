"""T5: encoder-decoder, pre-norm with RMSNorm, relative positions, and scores that are not scaled in the attention.

Raffel et al., "Exploring the Limits of Transfer Learning with a Unified Text-to-Text Transformer" (2020); with a gated
feed-forward and an output matrix of its own "T5 1.1" (Shazeer, 2020). Read and written as transformers'
`T5ForConditionalGeneration` does, and the encoder alone, which image generators read, as `T5EncoderModel`. The numbers
before a tied output are divided by √D.
"""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import torch
from torch import nn

from nextword.core.errors import CheckpointError, SettingsError, nearest
from nextword.models.encoder_decoder import EncoderDecoder, EncoderDecoderSettings
from nextword.models.family import Family, Special, Storable, check_keys, check_value, required, typed
from nextword.models.settings import ModelSettings
from nextword.models.stack import StackSettings
from nextword.models.transformer import Transformer, TransformerSettings
from nextword.models.weights import Rule, same
from nextword.nn.attention import AttentionSettings
from nextword.nn.block import BlockSettings
from nextword.nn.embedding import EmbeddingSettings
from nextword.nn.feedforward import ACTIVATIONS, FeedForwardSettings
from nextword.nn.head import HeadSettings
from nextword.nn.init import normal
from nextword.nn.mask import Reach
from nextword.nn.norm import NormSettings
from nextword.nn.position.relative import RelativeSettings

_KEYS = """
    classifier_dropout d_ff d_kv d_model dense_act_fn dropout_rate feed_forward_proj initializer_factor is_decoder
    is_encoder_decoder is_gated_act layer_norm_epsilon n_positions num_decoder_layers num_heads num_layers output_past
    relative_attention_max_distance relative_attention_num_buckets scale_decoder_outputs tie_word_embeddings vocab_size
"""  # n_positions, output_past: relics without effect; initializer_factor: of transformers' own drawing
KEYS = frozenset(_KEYS.split())
_HONOURED = "width depth heads head_width ffn_width tied norm_eps dropout"
HEAD_WIDTH = 64
FFN_MULTIPLE = 64
GATED = "gated-"
ENCODER = "EncoderModel"  # behind "T5" or "MT5": what saved an encoder alone


def describe(config: Mapping[str, Any]) -> EncoderDecoderSettings:
    """Our description of both stacks from a config.json; CheckpointError naming the key that is wrong or unknown."""
    check_keys(config, KEYS)
    if not is_encoder(config):
        check_value(config, "is_encoder_decoder", True)  # of encoders alone it is said as well
    check_value(config, "is_decoder", False)
    width = required(config, "d_model", int)
    norm = NormSettings(width, typed(config, "layer_norm_epsilon", float, 1e-6))
    drop = typed(config, "dropout_rate", float, 0.1)
    activation, gated = feedforward_kind(config)
    ffn = FeedForwardSettings(width, required(config, "d_ff", int), activation, gated=gated, dropout=drop)
    depth = required(config, "num_layers", int)
    heads, head_width = required(config, "num_heads", int), required(config, "d_kv", int)

    def attention(causal: bool) -> AttentionSettings:
        reach = Reach(causal)
        return AttentionSettings(width, heads, heads, head_width, dropout=drop, reach=reach, rotary=False, scale=1.0)

    def stack(count: int, decoder: bool) -> StackSettings:
        cross = attention(causal=False) if decoder else None
        block = BlockSettings(norm, attention(causal=decoder), ffn, cross=cross, dropout=drop)
        buckets = typed(config, "relative_attention_num_buckets", int, 32)
        farthest = typed(config, "relative_attention_max_distance", int, 128)
        bias = RelativeSettings(heads, buckets, farthest, both_sides=not decoder)
        return StackSettings(blocks=(block,) * count, norm=norm, bias=bias, dropout=drop)

    tied = typed(config, "tie_word_embeddings", bool, True)
    scaled = typed(config, "scale_decoder_outputs", bool, tied)
    return EncoderDecoderSettings(
        vocab_size=required(config, "vocab_size", int),
        width=width,
        max_length=None,
        encoder=stack(depth, decoder=False),
        decoder=stack(typed(config, "num_decoder_layers", int, depth), decoder=True),
        tied=tied,
        embedding=EmbeddingSettings(dropout=drop) if drop else None,
        head=HeadSettings(scale=width**-0.5 if scaled else 1.0),
    )


def feedforward_kind(config: Mapping[str, Any]) -> tuple[str, bool]:
    """The activation and whether the feed-forward is gated, from "relu", "gated-gelu" and the like."""
    kind: str = typed(config, "feed_forward_proj", str, "relu")
    activation = "gelu_new" if kind == "gated-gelu" else kind.removeprefix(GATED)
    if activation not in ACTIVATIONS:
        raise CheckpointError(f"config.json: feed_forward_proj {kind!r} is not known{nearest(activation, ACTIVATIONS)}")
    check_value(config, "dense_act_fn", activation)
    check_value(config, "is_gated_act", kind.startswith(GATED))
    return activation, kind.startswith(GATED)


def is_encoder(config: Mapping[str, Any]) -> bool:
    """Whether the file is of the encoder alone."""
    return str((typed(config, "architectures", list, None) or [""])[0]).endswith(ENCODER)


def build(config: dict[str, Any]) -> EncoderDecoder | Transformer:
    """The model that a config.json describes."""
    return made(describe(config), config)


def made(settings: EncoderDecoderSettings, config: dict[str, Any]) -> EncoderDecoder | Transformer:
    """The model of a description, or its encoder."""
    if not is_encoder(config):
        return EncoderDecoder(settings, config)
    stack = {field.name: getattr(settings.encoder, field.name) for field in fields(StackSettings)}
    around = {name: getattr(settings, name) for name in ("vocab_size", "width", "max_length", "embedding")}
    return Transformer(TransformerSettings(**stack, **around, tied=True, kind="encoder", output=False), config)


def rules(config: Mapping[str, Any]) -> list[Rule]:
    """How transformers names the tensors."""
    if not is_encoder(config):
        return both_rules(config)
    kept = [rule for rule in both_rules(config) if rule.theirs[0].startswith(("shared.", "encoder."))]
    return [Rule(rule.theirs, tuple(name.removeprefix("encoder.") for name in rule.ours)) for rule in kept]


def both_rules(config: Mapping[str, Any]) -> list[Rule]:
    """Those of encoder and decoder."""
    found = [same("shared.weight", "embedding.weight")]
    _, gated = feedforward_kind(config)
    wide = {"wi_0": "gate", "wi_1": "up"} if gated else {"wi": "up"}
    depths = {"encoder": config["num_layers"], "decoder": config.get("num_decoder_layers") or config["num_layers"]}
    for stack, depth in depths.items():
        parts = [("SelfAttention", "attention")] + [("EncDecAttention", "cross")] * (stack == "decoder")
        found.append(same(f"{stack}.block.0.layer.0.SelfAttention.{BIAS}", f"{stack}.bias.weight"))
        found.append(same(f"{stack}.final_layer_norm.weight", f"{stack}.norm.weight"))
        for layer in range(depth):
            theirs, ours = f"{stack}.block.{layer}.layer", f"{stack}.blocks.{layer}"
            for number, (their_name, our_name) in enumerate(parts):
                found.append(same(f"{theirs}.{number}.layer_norm.weight", f"{ours}.{our_name}_norm.weight"))
                for name in ("query", "key", "value", "output"):
                    linear = f"{theirs}.{number}.{their_name}.{name[0]}.weight"
                    found.append(same(linear, f"{ours}.{our_name}.{name}.weight"))
            last = f"{theirs}.{len(parts)}"
            found.append(same(f"{last}.layer_norm.weight", f"{ours}.feedforward_norm.weight"))
            for their_name, our_name in (wide | {"wo": "down"}).items():
                linear = f"{last}.DenseReluDense.{their_name}.weight"
                found.append(same(linear, f"{ours}.feedforward.{our_name}.weight"))
    if config.get("tie_word_embeddings") is False:
        found.append(same("lm_head.weight", "head.weight"))
    return found


BIAS = "relative_attention_bias.weight"


def ignored(config: Mapping[str, Any]) -> frozenset[str]:
    """A bias of the first cross-attention that early files hold and nothing uses."""
    return frozenset({f"decoder.block.0.layer.1.EncDecAttention.{BIAS}"})


def copies(config: Mapping[str, Any]) -> dict[str, str]:
    """The embedding, which some files repeat for each of its users."""
    users = ["encoder.embed_tokens.weight", "decoder.embed_tokens.weight"]
    if config.get("tie_word_embeddings") is not False:
        users.append("lm_head.weight")
    return dict.fromkeys(users, "shared.weight")


def fresh(settings: ModelSettings, vocab_size: int, special: Special) -> dict[str, Any]:
    """The config.json of a fresh T5 1.1, in transformers' layout; `depth` blocks in each of both stacks."""
    width = settings.width or 256
    pad_id = special.eos_id if special.pad_id is None else special.pad_id
    if pad_id is None:
        raise SettingsError("a T5 begins every text with the padding token: the tokenizer needs one (--for t5)")
    return {
        "architectures": ["T5ForConditionalGeneration"],
        "d_ff": settings.ffn_width or -(-8 * width // (3 * FFN_MULTIPLE)) * FFN_MULTIPLE,
        "d_kv": settings.head_width or HEAD_WIDTH,
        "d_model": width,
        "decoder_start_token_id": pad_id,
        "dropout_rate": settings.dropout or 0.0,
        "dtype": "float32",
        "eos_token_id": special.eos_id,
        "feed_forward_proj": "gated-gelu",
        "initializer_factor": 1.0,
        "is_encoder_decoder": True,
        "layer_norm_epsilon": 1e-6 if settings.norm_eps is None else settings.norm_eps,
        "model_type": "t5",
        "num_decoder_layers": settings.depth or 4,
        "num_heads": settings.heads or max(1, width // HEAD_WIDTH),
        "num_layers": settings.depth or 4,
        "pad_token_id": pad_id,
        "relative_attention_max_distance": 128,
        "relative_attention_num_buckets": 32,
        "tie_word_embeddings": True if settings.tied is None else settings.tied,
        "use_cache": True,
        "vocab_size": vocab_size,
    }


def draw(model: Storable, generator: torch.Generator) -> None:
    """Weights as T5 draws them: what passes through a matrix keeps its size, so that N(0, 1/inputs).

    Queries are smaller by the root of a head's width, since scores are not divided by it; embeddings ~ N(0, 1), since
    the head divides by √D or has a matrix of its own (T5X's numbers). With the 0.02 of other families the scores of a
    tied head begin fifty times too small. Where neither is so (a tied mT5) the embedding is drawn as a head is.
    """
    assert isinstance(model, EncoderDecoder)
    own, narrow = model.head.weight, model.settings.width**-0.5
    divided = own is not None or model.settings.head.scale != 1.0
    normal(model.embedding.weight, 1.0 if divided else narrow, generator)
    if own is not None:
        normal(own, narrow, generator)
    for stack in (model.encoder, model.decoder):
        normal(stack.bias.weight, narrow, generator)
        for name, module in stack.named_modules():
            if isinstance(module, nn.Linear):
                inputs = module.in_features * (stack.settings.blocks[0].attention.head_width if "query" in name else 1)
                normal(module.weight, inputs**-0.5, generator)


FAMILY = Family(
    honoured=frozenset(_HONOURED.split()),
    config=fresh,
    build=build,
    rules=rules,
    ignored=ignored,
    copies=copies,
    draw=draw,
)
