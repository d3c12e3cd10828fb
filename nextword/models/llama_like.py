"""Llama and its descendants: one description, one set of names, one fresh config, of which each family changes a part.

Touvron et al., "LLaMA" (2023), set a shape that most open decoders keep: RMSNorm before each part, rotary positions,
grouped-query attention, a gated feed-forward. A descendant's file says what it does otherwise: it begins with
`describe`, replaces what differs, and the names of tensors follow from the description.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from nextword.core.errors import CheckpointError, SettingsError, nearest
from nextword.models.decoder_tasks import with_tasks
from nextword.models.family import Family, Special, check_keys, known_activation, required, typed
from nextword.models.mixture import MixtureTransformer
from nextword.models.rereading import RereadingTransformer
from nextword.models.rope_config import KEYS as ROPE_KEYS
from nextword.models.rope_config import LAYER_KINDS, longest, read_rope, rotary_width
from nextword.models.settings import ModelSettings
from nextword.models.transformer import Transformer, TransformerSettings
from nextword.models.weights import Rule, same
from nextword.nn.attention import AttentionSettings
from nextword.nn.block import BlockSettings
from nextword.nn.feedforward import FeedForwardSettings
from nextword.nn.init import STANDARD_DEVIATION
from nextword.nn.mask import Reach
from nextword.nn.norm import NormSettings
from nextword.nn.position.rope import LongRope

_KEYS = """
    attention_dropout head_dim hidden_act hidden_size intermediate_size max_position_embeddings num_attention_heads
    num_hidden_layers num_key_value_heads rms_norm_eps tie_word_embeddings vocab_size
"""
KEYS = ROPE_KEYS | frozenset(_KEYS.split())
_HONOURED = "width depth heads kv_heads head_width ffn_width max_length tied rope_base norm_eps dropout"
HONOURED = frozenset(_HONOURED.split())
FFN_MULTIPLE = 64  # fresh feed-forwards are rounded up to it: matrix products like round numbers
HEAD_WIDTH, DEPTH = 64, 4  # of fresh models
ANSWERS = "transformer."  # with which the names of some families' bodies begin under a head for answers
FULL, SLIDING = LAYER_KINDS  # layers without and with a window

Sliding = Callable[[int], bool]  # whether a layer has a window
Describe = Callable[[Mapping[str, Any]], TransformerSettings]
Rules = Callable[[TransformerSettings], list[Rule]]
Fresh = Callable[[ModelSettings, int, Special], dict[str, Any]]


def describe(config: Mapping[str, Any], *further: str, partial: bool = False) -> TransformerSettings:
    """The description that a config.json gives of a Llama; `further` keys are known beside Llama's own.

    partial: only a share of each head may turn.

    CheckpointError naming the key that is wrong or unknown.
    """
    check_keys(config, KEYS.union(further))
    width, heads = required(config, "hidden_size", int), required(config, "num_attention_heads", int)
    kv_heads = typed(config, "num_key_value_heads", int, heads)
    head_width = typed(config, "head_dim", int, width // heads)
    if heads % kv_heads or head_width % 2:
        raise CheckpointError(
            f"config.json: num_attention_heads {heads} must be a multiple of num_key_value_heads {kv_heads}, "
            f"and head_dim {head_width} even"
        )
    activation = known_activation(config, "hidden_act", "silu")
    norm = NormSettings(width, typed(config, "rms_norm_eps", float, 1e-6))
    dropout = typed(config, "attention_dropout", float, 0.0)
    bias = typed(config, "attention_bias", bool, False)
    ffn_bias = typed(config, "mlp_bias", bool, False)
    ffn = FeedForwardSettings(width, required(config, "intermediate_size", int), activation, ffn_bias)
    attention = AttentionSettings(width, heads, kv_heads, head_width, bias, dropout)
    max_length = typed(config, "max_position_embeddings", int, 2048)
    rope = read_rope(config, max_length, partial)
    turned = rotary_width(config, head_width, 1.0) if partial else head_width
    attention = replace(attention, rotary_width=None if turned == head_width else turned)
    if isinstance(rope.scaling, LongRope) and {len(rope.scaling.short), len(rope.scaling.long)} != {turned // 2}:
        raise CheckpointError(f"config.json: short_factor and long_factor must have {turned // 2} numbers each")
    return TransformerSettings(
        vocab_size=required(config, "vocab_size", int),
        width=width,
        max_length=longest(rope, max_length),
        blocks=(BlockSettings(norm, attention, ffn),) * required(config, "num_hidden_layers", int),
        norm=norm,
        rope=rope,
        tied=typed(config, "tie_word_embeddings", bool, False),
    )


def each_block(settings: TransformerSettings, **changed: Any) -> TransformerSettings:
    """The same with these fields of every block replaced."""
    return replace(settings, blocks=tuple(replace(block, **changed) for block in settings.blocks))


def each_attention(settings: TransformerSettings, **changed: Any) -> TransformerSettings:
    """The same with these fields of every layer's attention replaced."""
    blocks = (replace(block, attention=replace(block.attention, **changed)) for block in settings.blocks)
    return replace(settings, blocks=tuple(blocks))


def each_feedforward(settings: TransformerSettings, **changed: Any) -> TransformerSettings:
    """The same with these fields of every layer's feed-forward replaced."""
    blocks = (replace(block, feedforward=replace(block.feedforward, **changed)) for block in settings.blocks)
    return replace(settings, blocks=tuple(blocks))


def windowed(settings: TransformerSettings, windows: Iterable[int | None]) -> TransformerSettings:
    """The same where each layer sees so many tokens, itself included; None: all before it."""
    blocks = (
        replace(block, attention=replace(block.attention, reach=Reach(window=window)))
        for block, window in zip(settings.blocks, windows, strict=True)
    )
    return replace(settings, blocks=tuple(blocks))


def layer_windows(
    config: Mapping[str, Any], window: int | None, sliding: Sliding, more: Sequence[str] = ()
) -> list[int | None]:
    """The window of each layer: by `layer_types`, or without these by whether a layer is `sliding`."""
    layers = required(config, "num_hidden_layers", int)
    kinds = config.get("layer_types")
    if kinds is None:
        kinds = [SLIDING if sliding(layer) else FULL for layer in range(layers)]
    if not isinstance(kinds, list) or len(kinds) != layers:
        raise CheckpointError(f"config.json: layer_types must list one kind for each of {layers} layers: {kinds!r}")
    for kind in kinds:
        if kind not in {FULL, SLIDING}:
            raise CheckpointError(f"config.json: layer_types has {kind!r}{nearest(str(kind), [FULL, SLIDING])}")
    if SLIDING in kinds and window is None:
        raise CheckpointError(
            f"config.json: layer_types has {SLIDING!r}, but no sliding_window is in use; give its length"
            + "".join(f", and set {key} to true" for key in more)
        )
    return [window if kind == SLIDING else None for kind in kinds]


# what transformers calls the norms of a block, by arrangement -> what we call them
NORM_NAMES = {
    "pre": {"input_layernorm": "attention_norm", "post_attention_layernorm": "feedforward_norm"},
    "mixture": {"input_layernorm": "attention_norm", "post_attention_layernorm": "feedforward_norm"},
    "output": {"post_attention_layernorm": "attention_norm", "post_feedforward_layernorm": "feedforward_norm"},
    "sandwich": {
        "input_layernorm": "attention_norm",
        "post_attention_layernorm": "attention_output_norm",
        "pre_feedforward_layernorm": "feedforward_norm",
        "post_feedforward_layernorm": "feedforward_output_norm",
    },
}


def linear(theirs: str, ours: str, bias: bool) -> list[Rule]:
    """The rules for a linear layer."""
    return [same(f"{theirs}.{kind}", f"{ours}.{kind}") for kind in ("weight", "bias")[: 1 + bias]]


def attention_rules(theirs: str, ours: str, settings: AttentionSettings) -> list[Rule]:
    """How transformers names the tensors of an attention."""
    output_bias = settings.bias if settings.output_bias is None else settings.output_bias
    found = []
    for part in ("query", "key", "value"):
        found += linear(f"{theirs}.{part[0]}_proj", f"{ours}.{part}", settings.bias)
    found += linear(f"{theirs}.o_proj", f"{ours}.output", output_bias)
    if settings.qk_norm is not None:
        found += [same(f"{theirs}.{part[0]}_norm.weight", f"{ours}.{part}_norm.weight") for part in ("query", "key")]
    return found


def feedforward_rules(theirs: str, ours: str, settings: FeedForwardSettings) -> list[Rule]:
    """How transformers names the tensors of a gated feed-forward."""
    parts = ("gate", "up", "down")
    return [rule for part in parts for rule in linear(f"{theirs}.{part}_proj", f"{ours}.{part}", settings.bias)]


def rules(
    settings: TransformerSettings,
    attention: Callable[[str, str, AttentionSettings], list[Rule]] = attention_rules,
    feedforward: Callable[[str, str, FeedForwardSettings], list[Rule]] = feedforward_rules,
) -> list[Rule]:
    """How transformers names the tensors; a family may name those of its parts otherwise."""
    found = [same("model.embed_tokens.weight", "embedding.weight")]
    if settings.norm is not None and settings.norm.kind != "bare layer":
        found.append(same("model.norm.weight", "norm.weight"))
    for layer, block in enumerate(settings.blocks):
        theirs, ours = f"model.layers.{layer}", f"blocks.{layer}"
        if block.norm.kind != "bare layer":
            names = NORM_NAMES[block.arrangement]
            found += [same(f"{theirs}.{name}.weight", f"{ours}.{own}.weight") for name, own in names.items()]
        found += attention(f"{theirs}.self_attn", f"{ours}.attention", block.attention)
        found += feedforward(f"{theirs}.mlp", f"{ours}.feedforward", block.feedforward)
    if not settings.tied:
        found.append(same("lm_head.weight", "head.weight"))
    return found


def fresh(settings: ModelSettings, vocab_size: int, special: Special, **own: Any) -> dict[str, Any]:
    """The config.json of a fresh model in transformers' layout; `own` are the family's keys and values."""
    width = settings.width or 256
    heads = settings.heads or max(1, width // HEAD_WIDTH)
    kv_heads = settings.kv_heads or heads
    head_width = settings.head_width or width // heads
    if width % heads or heads % kv_heads or head_width % 2:
        raise SettingsError(
            f"model.heads {heads} must divide model.width {width}, model.kv_heads {kv_heads} must divide model.heads, "
            f"and model.head_width {head_width} must be even"
        )
    base = settings.rope_base or 10_000.0
    return {
        "attention_dropout": settings.dropout or 0.0,
        "bos_token_id": special.bos_id,
        "dtype": "float32",
        "eos_token_id": special.eos_id,
        "head_dim": head_width,
        "hidden_act": "silu",
        "hidden_size": width,
        "initializer_range": STANDARD_DEVIATION,
        "intermediate_size": settings.ffn_width or -(-8 * width // (3 * FFN_MULTIPLE)) * FFN_MULTIPLE,
        "max_position_embeddings": settings.max_length or 512,
        "num_attention_heads": heads,
        "num_hidden_layers": settings.depth or DEPTH,
        "num_key_value_heads": kv_heads,
        "pad_token_id": special.pad_id,
        "rms_norm_eps": 1e-5 if settings.norm_eps is None else settings.norm_eps,
        "rope_parameters": {"rope_theta": base, "rope_type": "default"},
        "rope_theta": base,  # for readers of the older layout
        "tie_word_embeddings": True if settings.tied is None else settings.tied,
        "use_cache": True,
        "vocab_size": vocab_size,
    } | own


def built(settings: TransformerSettings, config: dict[str, Any]) -> Transformer:
    """The model of a description."""
    if any(block.arrangement == "mixture" for block in settings.blocks):
        return MixtureTransformer(settings, config)
    long = settings.rope is not None and isinstance(settings.rope.scaling, LongRope)
    return (RereadingTransformer if long else Transformer)(settings, config)


def llama_like(
    describe: Describe,
    fresh: Fresh,
    rules: Rules = rules,
    honoured: Iterable[str] = HONOURED,
    answers: str | None = None,
) -> Family:
    """The family of these descriptions, fresh configs and names; `answers` as in `with_tasks`."""

    def ignored(config: Mapping[str, Any]) -> frozenset[str]:
        """Tables of rotary frequencies that early files hold; they follow from the config."""
        return frozenset(f"model.layers.{n}.self_attn.rotary_emb.inv_freq" for n in range(config["num_hidden_layers"]))

    def copies(config: Mapping[str, Any]) -> dict[str, str]:
        """The output matrix of a tied model, which some files repeat."""
        return {"lm_head.weight": "model.embed_tokens.weight"} if describe(config).tied else {}

    writing = Family(
        honoured=frozenset(honoured),
        config=fresh,
        build=lambda config: built(describe(config), config),
        rules=lambda config: rules(describe(config)),
        ignored=ignored,
        copies=copies,
    )
    return with_tasks(writing, "model.", answers=answers)
