"""nextword: a decoder of our own that learns as much as it can from each second, out of the best public findings.

    rotary attention with normed queries and keys      Henry et al. 2020
    feed-forward with ReLU²                            So et al., "Primer", 2021
    what writes into the stream starts at 0            Zhang et al., "Fixup", 2019
    n-gram and value embeddings, residual mixing       `nextword.models.mixed`
    scores within ±15, an output matrix of its own     Gemma 2, 2024

All of these stand in modded-nanogpt (Jordan et al., 2024-2025) and nanochat (Karpathy, 2025). Each may be left out
(`--model.without`), which is how its worth is measured. No other tool opens these folders; llama is the family that all
of them do.
"""

from collections.abc import Mapping
from typing import Any

from nextword.core.errors import CheckpointError, SettingsError, nearest
from nextword.models.family import Family, Special, check_keys, divided, known_activation, required, typed
from nextword.models.mixed import MixedSettings, MixedTransformer
from nextword.models.settings import ModelSettings
from nextword.models.weights import Rule, same
from nextword.nn.attention import AttentionSettings
from nextword.nn.block import BlockSettings
from nextword.nn.feedforward import FeedForwardSettings
from nextword.nn.head import HeadSettings
from nextword.nn.norm import NormSettings
from nextword.nn.position.rope import RopeSettings

_KEYS = """
    bucket_count ffn_width head_width heads hidden_act kv_heads layers logit_cap max_positions ngram_orders norm_eps
    qk_norm residual_mixing rope_theta tie_word_embeddings value_layers vocab_size width zero_outputs
"""
KEYS = frozenset(_KEYS.split())
_HONOURED = "width depth heads kv_heads head_width ffn_width max_length tied rope_base norm_eps order buckets without"
HEAD_WIDTH = 64
CAP = 15.0  # nanochat's
SPREAD = 0.5  # of fresh matrices, over √width
LONGEST, BUCKETS = 3, 2**15  # hashed n-grams, and the rows of a table
# what may be left out -> the config without it
PARTS: dict[str, dict[str, Any]] = {
    "relu2": {"hidden_act": "gelu"},
    "qk-norm": {"qk_norm": False},
    "zero-outputs": {"zero_outputs": False},
    "value-embeddings": {"value_layers": []},
    "ngrams": {"ngram_orders": []},
    "mixing": {"residual_mixing": False},
    "cap": {"logit_cap": None},
}


def describe(config: Mapping[str, Any]) -> MixedSettings:
    """The description of the blocks from a config.json; CheckpointError naming the key that is wrong or unknown."""
    check_keys(config, KEYS)
    width, heads, layers = (required(config, key, int) for key in ("width", "heads", "layers"))
    kv_heads, head_width = required(config, "kv_heads", int), required(config, "head_width", int)
    if heads % kv_heads or head_width % 2:
        raise CheckpointError(
            f"config.json: heads {heads} must be a multiple of kv_heads {kv_heads}, and head_width {head_width} even"
        )
    epsilon = typed(config, "norm_eps", float, 1e-6)
    norm = NormSettings(width, epsilon)
    qk_norm = NormSettings(head_width, epsilon) if typed(config, "qk_norm", bool, True) else None
    attention = AttentionSettings(width, heads, kv_heads, head_width, qk_norm=qk_norm)
    activation = known_activation(config, "hidden_act", "relu2")
    ffn = FeedForwardSettings(width, required(config, "ffn_width", int), activation, gated=False)
    valued, orders = whole(config, "value_layers", 0, layers - 1), whole(config, "ngram_orders", 2, 10)
    mixed, zero = typed(config, "residual_mixing", bool, True), typed(config, "zero_outputs", bool, True)
    blocks = tuple(
        BlockSettings(norm, attention, ffn, ARRANGEMENT[mixed, layer in valued], zero=zero) for layer in range(layers)
    )
    cap = typed(config, "logit_cap", float, None)
    return MixedSettings(
        **{"blocks": blocks, "norm": norm, "width": width, "first_norm": norm, "orders": orders, "valued": valued},
        rope=RopeSettings(typed(config, "rope_theta", float, 10_000.0)),
        vocab_size=required(config, "vocab_size", int),
        max_length=required(config, "max_positions", int),
        tied=typed(config, "tie_word_embeddings", bool, False),
        head=HeadSettings(cap=cap),
        buckets=required(config, "bucket_count", int) if orders else 0,
    )


ARRANGEMENT = {
    (False, False): "pre",
    (True, False): "mixed",
    (False, True): "valued",
    (True, True): "mixed-valued",
}  # fmt: skip - by whether the stream is mixed, and whether values are given


def whole(config: Mapping[str, Any], key: str, low: int, high: int) -> tuple[int, ...]:
    """A list of different whole numbers of a range, which may be empty, in ascending order."""
    found = config.get(key, [])
    good = isinstance(found, list) and all(type(number) is int and low <= number <= high for number in found)
    if not good or sorted(set(found)) != found:
        raise CheckpointError(
            f"config.json: {key!r} must be a list of numbers from {low} to {high} in order, received {found!r}"
        )
    return tuple(found)


def build(config: dict[str, Any]) -> MixedTransformer:
    """The model that a config.json describes."""
    return MixedTransformer(describe(config), config)


def rules(config: Mapping[str, Any]) -> list[Rule]:
    """The names are our own."""
    settings = describe(config)
    names = ["embedding.weight", "first_norm.weight", "norm.weight"]
    names += [f"ngrams.tables.{number}.weight" for number in range(len(settings.orders))]
    names += [f"values.{layer}.weight" for layer in settings.valued]
    names += [] if settings.tied else ["head.weight"]
    parts = ["attention_norm", "feedforward_norm", "feedforward.up", "feedforward.down"]
    parts += [f"attention.{part}" for part in ("query", "key", "value", "output")]
    parts += ["attention.query_norm", "attention.key_norm"] if typed(config, "qk_norm", bool, True) else []
    for layer, block in enumerate(settings.blocks):
        names += [f"blocks.{layer}.{part}.weight" for part in parts]
        names += [f"blocks.{layer}.attention.gate.weight"] if layer in settings.valued else []
        names += [f"blocks.{layer}.mix"] if block.arrangement.startswith("mixed") else []
    return [same(name, name) for name in names]


def fresh(settings: ModelSettings, vocab_size: int, special: Special) -> dict[str, Any]:
    """The config.json of a fresh model."""
    width = settings.width or 256
    heads = settings.heads or max(1, width // HEAD_WIDTH)
    head_width = settings.head_width or divided(width, heads, ("model.width", "model.heads"), SettingsError)
    kv_heads, depth = settings.kv_heads or heads, settings.depth or 4
    if heads % kv_heads or head_width % 2:
        raise SettingsError(
            f"model.kv_heads {kv_heads} must divide model.heads {heads}, and model.head_width {head_width} be even"
        )
    config = {
        "architectures": ["NextwordForCausalLM"],
        "bos_token_id": special.bos_id,
        "bucket_count": settings.buckets or BUCKETS,
        "dtype": "float32",
        "eos_token_id": special.eos_id,
        "ffn_width": settings.ffn_width or 4 * width,
        "head_width": head_width,
        "heads": heads,
        "hidden_act": "relu2",
        "initializer_range": SPREAD / width**0.5,
        "kv_heads": kv_heads,
        "layers": depth,
        "logit_cap": CAP,
        "max_positions": settings.max_length or 512,
        "model_type": "nextword",
        "ngram_orders": list(range(2, (LONGEST if settings.order is None else settings.order) + 1)),
        "norm_eps": 1e-6 if settings.norm_eps is None else settings.norm_eps,
        "pad_token_id": special.pad_id,
        "qk_norm": True,
        "residual_mixing": True,
        "rope_theta": settings.rope_base or 10_000.0,
        "tie_word_embeddings": bool(settings.tied),
        "value_layers": list(range(1 - depth % 2, depth, 2)),  # every second one, the last included
        "vocab_size": vocab_size,
        "width": width,
        "zero_outputs": True,
    }
    for part in settings.without:
        if part not in PARTS:
            raise SettingsError(f"model.without: no part {part!r}{nearest(part, PARTS)}")
        config |= PARTS[part]
    return config


NOTE = "only nextword opens models of the family 'nextword'; --model llama makes ones that every tool opens"
FAMILY = Family(honoured=frozenset(_HONOURED.split()), config=fresh, build=build, rules=rules, note=NOTE)
