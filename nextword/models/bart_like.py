"""The shape of the first transformer, which BART, mBART and Marian share: LayerNorm, biases, plain feed-forwards.

Vaswani et al., "Attention Is All You Need" (2017). Both halves read one table of tokens' vectors, which is the output
matrix as well; around it each puts positions, and BART a norm. The relatives differ in three things: whether norms
stand before or behind the parts, whether positions are learned or waves, and how their configs are called. Read and
written as transformers' `...ForConditionalGeneration` does, and as the bare `...Model` that BART was published as.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from nextword.core.errors import CheckpointError, SettingsError
from nextword.models.encoder_decoder import EncoderDecoder, EncoderDecoderSettings
from nextword.models.family import (
    Family,
    Special,
    check_keys,
    check_off,
    check_value,
    divided,
    known_activation,
    required,
    typed,
)
from nextword.models.fresh import DEPTH, LENGTH, common, width_and_heads
from nextword.models.settings import ModelSettings
from nextword.models.stack import StackSettings
from nextword.models.weights import Rule, Tensors, Transform, pair, same
from nextword.nn.attention import AttentionSettings
from nextword.nn.block import BlockSettings
from nextword.nn.embedding import EmbeddingSettings
from nextword.nn.feedforward import FeedForwardSettings
from nextword.nn.head import HeadSettings
from nextword.nn.mask import Reach
from nextword.nn.norm import NormSettings

_KEYS = """
    activation_dropout activation_function add_bias_logits add_final_layer_norm attention_dropout classif_dropout
    classifier_dropout d_model decoder_attention_heads decoder_ffn_dim decoder_layerdrop decoder_layers dropout
    encoder_attention_heads encoder_ffn_dim encoder_layerdrop encoder_layers extra_pos_embeddings
    force_bos_token_to_be_generated gradient_checkpointing init_std is_decoder is_encoder_decoder
    max_position_embeddings normalize_before normalize_embedding num_hidden_layers output_past scale_embedding
    static_position_embeddings tie_word_embeddings vocab_size
"""  # classif(ier)_dropout: of a head that is not here; add_bias_logits, extra_pos_embeddings, output_past: relics
KEYS = frozenset(_KEYS.split())
HONOURED = frozenset({"width", "depth", "heads", "ffn_width", "max_length", "dropout"})
SKIPPED = 2  # rows of the table of positions before the first, a relic of fairseq
HALVES = ("encoder", "decoder")


@dataclass(frozen=True)
class Kin:
    """What sets a relative apart.

    whole, bare: what its `architectures` are called, with an output and without. before: norms stand before the parts,
    and one behind the last block. learned: positions are learned and a norm follows them, in each half its own; else
    they are waves, and there is no norm. activation: of fresh models. keys: further ones of its configs.
    """

    whole: str
    bare: str
    before: bool
    learned: bool
    activation: str
    keys: frozenset[str] = frozenset()


def describe(config: Mapping[str, Any], kin: Kin) -> EncoderDecoderSettings:
    """Our description of both stacks from a config.json; CheckpointError naming the key that is wrong or unknown."""
    check(config, kin)
    width = required(config, "d_model", int)
    drop, scale = typed(config, "dropout", float, 0.1), width**0.5 if config.get("scale_embedding") else 1.0
    max_length = typed(config, "max_position_embeddings", int, 1024)
    norm = NormSettings(width, 1e-5, "layer")
    around = EmbeddingSettings("sinusoidal halves", scale=scale, dropout=drop)
    if kin.learned:
        around = EmbeddingSettings(
            "learned", max_length + SKIPPED, norm=norm, scale=scale, dropout=drop, skipped=SKIPPED
        )
    return EncoderDecoderSettings(
        vocab_size=required(config, "vocab_size", int),
        width=width,
        max_length=max_length,
        encoder=stack(config, kin, "encoder", norm),
        decoder=stack(config, kin, "decoder", norm),
        tied=typed(config, "tie_word_embeddings", bool, True),
        embedding=None if kin.learned else around,
        entry=around if kin.learned else None,
        head=HeadSettings(bias=not is_bare(config, kin)),
    )


def check(config: Mapping[str, Any], kin: Kin) -> None:
    """CheckpointError for a key that is unknown, or says other than what the relative computes."""
    check_keys(config, KEYS | kin.keys)
    known = {"is_encoder_decoder": True, "is_decoder": False, "num_hidden_layers": config.get("encoder_layers")}
    known |= {"normalize_before": kin.before, "add_final_layer_norm": kin.before}
    known |= {"normalize_embedding": kin.learned, "static_position_embeddings": not kin.learned}
    for key, value in known.items():
        check_value(config, key, value)
    for half in HALVES:
        check_off(config, f"{half}_layerdrop")


def stack(config: Mapping[str, Any], kin: Kin, half: str, norm: NormSettings) -> StackSettings:
    """One half's blocks."""
    width, heads = norm.width, required(config, f"{half}_attention_heads", int)
    drop, decoder = typed(config, "dropout", float, 0.1), half == "decoder"

    def attention(causal: bool) -> AttentionSettings:
        return AttentionSettings(
            **{"width": width, "heads": heads, "kv_heads": heads, "bias": True, "rotary": False},
            head_width=divided(width, heads, ("d_model", f"{half}_attention_heads")),
            dropout=typed(config, "attention_dropout", float, 0.0),
            reach=Reach(causal),
        )

    ffn = FeedForwardSettings(
        **{"width": width, "bias": True, "gated": False},
        ffn_width=required(config, f"{half}_ffn_dim", int),
        activation=known_activation(config, "activation_function", "gelu"),
        dropout=typed(config, "activation_dropout", float, 0.0),
    )
    cross, arrangement = attention(causal=False) if decoder else None, "pre" if kin.before else "post"
    block = BlockSettings(norm, attention(causal=decoder), ffn, arrangement, cross, dropout=drop)
    return StackSettings(blocks=(block,) * required(config, f"{half}_layers", int), norm=norm if kin.before else None)


def is_bare(config: Mapping[str, Any], kin: Kin) -> bool:
    """Whether the file is of the model alone, whose embedding serves as output; CheckpointError for another head."""
    name = (config.get("architectures") or [kin.whole])[0]
    if name not in {kin.whole, kin.bare}:
        raise CheckpointError(
            f"config.json: architectures {name!r} is not known for model_type {config.get('model_type')!r}; "
            f"known: {kin.whole}, {kin.bare}"
        )
    return bool(name == kin.bare)


def rules(config: Mapping[str, Any], kin: Kin) -> list[Rule]:
    """How transformers names the tensors."""
    base, tied = "" if is_bare(config, kin) else "model.", config.get("tie_word_embeddings") is not False
    shared = [f"{base}shared.weight", *(f"{base}{half}.embed_tokens.weight" for half in HALVES)]
    found = [same(shared[0], EMBEDDING) if tied else Rule(tuple(shared), (EMBEDDING,), THRICE)]
    if base:
        found.append(Rule(("final_logits_bias",), ("head.bias",), ROW))
    if not tied:
        found.append(same("lm_head.weight", "head.weight"))
    for half in HALVES:
        if kin.learned:
            found.append(same(f"{base}{half}.embed_positions.weight", f"entries.{half}.positions.weight"))
            found += pair(f"{base}{half}.layernorm_embedding", f"entries.{half}.norm")
        if kin.before:
            found += pair(f"{base}{half}.layer_norm", f"{half}.norm")
        attentions = {"self_attn": "attention"} | ({"encoder_attn": "cross"} if half == "decoder" else {})
        for layer in range(config[f"{half}_layers"]):
            theirs, ours = f"{base}{half}.layers.{layer}", f"{half}.blocks.{layer}"
            for their_name, our_name in attentions.items():
                found += pair(f"{theirs}.{their_name}_layer_norm", f"{ours}.{our_name}_norm")
                for short, long in LINEARS.items():
                    found += pair(f"{theirs}.{their_name}.{short}", f"{ours}.{our_name}.{long}")
            for their_name, our_name in PLAIN.items():
                found += pair(f"{theirs}.{their_name}", f"{ours}.{our_name}")
    return found


EMBEDDING = "embedding.weight"
LINEARS = {"q_proj": "query", "k_proj": "key", "v_proj": "value", "out_proj": "output"}
PLAIN = {"fc1": "feedforward.up", "fc2": "feedforward.down", "final_layer_norm": "feedforward_norm"}


def _one_of_all(tensors: Tensors) -> Tensors:
    if not all(torch.equal(tensors[0], other) for other in tensors[1:]):
        raise CheckpointError("the embeddings of encoder and decoder differ, and nextword has one for both halves")
    return tensors[:1]


THRICE = Transform(_one_of_all, lambda tensors: (tensors[0], tensors[0].clone(), tensors[0].clone()))
ROW = Transform(lambda tensors: (tensors[0].squeeze(0),), lambda tensors: (tensors[0].unsqueeze(0),))


def ignored(config: Mapping[str, Any], kin: Kin) -> frozenset[str]:
    """Tables of waves that old files hold, and fairseq's mark of a version."""
    unused = {f"{base}{half}.version" for base in ("", "model.") for half in HALVES}
    waves = () if kin.learned else HALVES
    return frozenset(unused | {f"{base}{half}.embed_positions.weight" for base in ("", "model.") for half in waves})


def copies(config: Mapping[str, Any], kin: Kin) -> dict[str, str]:
    """The tied tables, which some files repeat."""
    base = "" if is_bare(config, kin) else "model."
    names = ("lm_head.weight", *(f"{base}{half}.embed_tokens.weight" for half in HALVES))
    return {} if config.get("tie_word_embeddings") is False else dict.fromkeys(names, f"{base}shared.weight")


def fresh(settings: ModelSettings, vocab_size: int, special: Special, kin: Kin, model_type: str) -> dict[str, Any]:
    """The config.json of a fresh model; `depth` blocks in each half, and the decoder begins with the padding token."""
    width, heads = width_and_heads(settings)
    if special.pad_id is None and special.eos_id is None:
        raise SettingsError(
            f"a {model_type} begins to write with the padding token: the tokenizer needs one (--for t5)"
        )
    drop = settings.dropout or 0.0
    halves = {
        f"{half}_{name}": value
        for half in HALVES
        for name, value in (
            ("attention_heads", heads),
            ("ffn_dim", settings.ffn_width or 4 * width),
            ("layerdrop", 0.0),
            ("layers", settings.depth or DEPTH),
        )
    }
    pad_id = special.eos_id if special.pad_id is None else special.pad_id
    return (
        common(settings, vocab_size, special, tied=True)
        | halves
        | {
            "activation_dropout": drop,
            "activation_function": kin.activation,
            "architectures": [kin.whole],
            "attention_dropout": drop,
            "d_model": width,
            "decoder_start_token_id": pad_id,
            "dropout": drop,
            "forced_eos_token_id": None,
            "is_encoder_decoder": True,
            "max_position_embeddings": settings.max_length or LENGTH,
            "model_type": model_type,
            "num_hidden_layers": settings.depth or DEPTH,
            "pad_token_id": pad_id,
            "scale_embedding": not kin.learned,
        }
    )


def family(
    kin: Kin, model_type: str, describe: Callable[[Mapping[str, Any], Kin], EncoderDecoderSettings] = describe
) -> Family:
    """The family of a relative."""

    def build(config: dict[str, Any]) -> EncoderDecoder:
        return EncoderDecoder(describe(config, kin), config)

    return Family(
        honoured=HONOURED,
        config=partial(fresh, kin=kin, model_type=model_type),
        build=build,
        rules=partial(rules, kin=kin),
        ignored=partial(ignored, kin=kin),
        copies=partial(copies, kin=kin),
    )
