"""GPT-Neo: GPT-2 in which every second layer sees a window only, as GPT-3 has it.

Black et al., "GPT-Neo" (2021). GPT-3 alternates dense and locally banded attention (Brown et al., "Language Models are
Few-Shot Learners", 2020; Child et al., "Sparse Transformers", 2019), and its weights are nowhere to be had: GPT-Neo is
its relative that can be loaded. Scores are not scaled. Read and written as transformers' `GPTNeoForCausalLM` does.
"""

from collections.abc import Mapping
from typing import Any

from nextword.core.errors import CheckpointError
from nextword.models.decoder_tasks import with_tasks
from nextword.models.family import Family, Special, check_keys, check_value, divided, known_activation, required, typed
from nextword.models.fresh import DEPTH, LENGTH, common, width_and_heads
from nextword.models.settings import ModelSettings
from nextword.models.transformer import Transformer, TransformerSettings
from nextword.models.weights import Rule, pair, same
from nextword.nn.attention import AttentionSettings
from nextword.nn.block import BlockSettings
from nextword.nn.embedding import EmbeddingSettings
from nextword.nn.feedforward import FeedForwardSettings
from nextword.nn.mask import Reach
from nextword.nn.norm import NormSettings

_KEYS = """
    activation_function attention_dropout attention_layers attention_types classifier_dropout embed_dropout
    gradient_checkpointing hidden_size intermediate_size layer_norm_epsilon max_position_embeddings num_heads num_layers
    resid_dropout summary_activation summary_first_dropout summary_proj_to_labels summary_type summary_use_proj
    tie_word_embeddings vocab_size window_size
"""  # summary_...: of a head that language models do not have
KEYS = frozenset(_KEYS.split())
_HONOURED = "width depth heads ffn_width max_length window tied norm_eps dropout"
GLOBAL, LOCAL = "global", "local"
WINDOW = 256


def kinds(config: Mapping[str, Any]) -> list[str]:
    """Each layer's kind, GLOBAL or LOCAL, from `attention_types`: [[[kinds in turn], how often], ...]."""
    layers, types = required(config, "num_layers", int), config.get("attention_types", [[[GLOBAL, LOCAL], 12]])
    try:
        found = [kind for kinds, times in types for _ in range(times) for kind in kinds]
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"config.json: attention_types {types!r} is no list of [kinds, how often]") from error
    if len(found) != layers or not set(found) <= {GLOBAL, LOCAL}:
        raise CheckpointError(
            f"config.json: attention_types {types!r} must name {GLOBAL!r} or {LOCAL!r} for each of {layers} layers"
        )
    check_value(config, "attention_layers", found)
    return found


def describe(config: Mapping[str, Any]) -> TransformerSettings:
    """Our description of the blocks from a config.json; CheckpointError naming the key that is wrong or unknown."""
    check_keys(config, KEYS)
    width, heads = required(config, "hidden_size", int), required(config, "num_heads", int)
    head_width = divided(width, heads, ("hidden_size", "num_heads"))
    norm = NormSettings(width, typed(config, "layer_norm_epsilon", float, 1e-5), "layer")
    activation = known_activation(config, "activation_function", "gelu_new")
    inner = typed(config, "intermediate_size", int, 4 * width)
    reaches = {GLOBAL: Reach(), LOCAL: Reach(window=typed(config, "window_size", int, WINDOW))}
    blocks = []
    for kind in kinds(config):
        attention = AttentionSettings(
            **{"width": width, "heads": heads, "kv_heads": heads, "head_width": head_width, "output_bias": True},
            dropout=typed(config, "attention_dropout", float, 0.0),
            reach=reaches[kind],
            rotary=False,
            scale=1.0,
        )
        ffn = FeedForwardSettings(width, inner, activation, bias=True, gated=False)
        blocks.append(BlockSettings(norm, attention, ffn, dropout=typed(config, "resid_dropout", float, 0.0)))
    max_length = typed(config, "max_position_embeddings", int, 2048)
    return TransformerSettings(
        blocks=tuple(blocks),
        norm=norm,
        vocab_size=required(config, "vocab_size", int),
        width=width,
        max_length=max_length,
        tied=typed(config, "tie_word_embeddings", bool, True),
        embedding=EmbeddingSettings("learned", max_length, dropout=typed(config, "embed_dropout", float, 0.0)),
    )


def build(config: dict[str, Any]) -> Transformer:
    """The model that a config.json describes."""
    return Transformer(describe(config), config)


def rules(config: Mapping[str, Any]) -> list[Rule]:
    """How transformers names the tensors."""
    found = [
        same("transformer.wte.weight", "embedding.weight"),
        same("transformer.wpe.weight", "embedding.positions.weight"),
        *pair("transformer.ln_f", "norm"),
    ]
    for layer in range(config["num_layers"]):
        theirs, ours = f"transformer.h.{layer}", f"blocks.{layer}"
        for part in ("query", "key", "value"):
            found.append(same(f"{theirs}.attn.attention.{part[0]}_proj.weight", f"{ours}.attention.{part}.weight"))
        found += [
            *pair(f"{theirs}.attn.attention.out_proj", f"{ours}.attention.output"),
            *pair(f"{theirs}.ln_1", f"{ours}.attention_norm"),
            *pair(f"{theirs}.ln_2", f"{ours}.feedforward_norm"),
            *pair(f"{theirs}.mlp.c_fc", f"{ours}.feedforward.up"),
            *pair(f"{theirs}.mlp.c_proj", f"{ours}.feedforward.down"),
        ]
    if config.get("tie_word_embeddings") is False:
        found.append(same("lm_head.weight", "head.weight"))
    return found


def ignored(config: Mapping[str, Any]) -> frozenset[str]:
    """Causal masks that early files hold."""
    places = [f"transformer.h.{layer}.attn.attention" for layer in range(config["num_layers"])]
    return frozenset(f"{place}.{name}" for place in places for name in ("bias", "masked_bias"))


def copies(config: Mapping[str, Any]) -> dict[str, str]:
    """The output matrix of a tied model, which some files repeat."""
    return {} if config.get("tie_word_embeddings") is False else {"lm_head.weight": "transformer.wte.weight"}


def fresh(settings: ModelSettings, vocab_size: int, special: Special) -> dict[str, Any]:
    """The config.json of a fresh GPT-Neo, in transformers' layout; its layers see all and a window in turn."""
    width, heads = width_and_heads(settings)
    dropout, depth = settings.dropout or 0.0, settings.depth or DEPTH
    turns = [[[GLOBAL, LOCAL], depth // 2], [[GLOBAL], depth % 2]]
    return common(settings, vocab_size, special, tied=True) | {
        "activation_function": "gelu_new",
        "architectures": ["GPTNeoForCausalLM"],
        "attention_dropout": dropout,
        "attention_types": [turn for turn in turns if turn[1]],
        "embed_dropout": dropout,
        "hidden_size": width,
        "intermediate_size": settings.ffn_width,
        "layer_norm_epsilon": 1e-5 if settings.norm_eps is None else settings.norm_eps,
        "max_position_embeddings": settings.max_length or LENGTH,
        "model_type": "gpt_neo",
        "num_heads": heads,
        "num_layers": depth,
        "resid_dropout": dropout,
        "window_size": settings.window or WINDOW,
    }


FAMILY = with_tasks(
    Family(
        honoured=frozenset(_HONOURED.split()), config=fresh, build=build, rules=rules, ignored=ignored, copies=copies
    ),
    "transformer.",
    tokens="classifier",
)
