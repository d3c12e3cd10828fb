"""GPT-Neo: GPT-2 in which every second layer sees a window only, as GPT-3 has it.

Black et al., "GPT-Neo" (2021). GPT-3 alternates dense and locally banded attention (Brown et al., "Language Models are
Few-Shot Learners", 2020; Child et al., "Sparse Transformers", 2019), and its weights are nowhere to be had: GPT-Neo is
its relative that can be loaded. Scores are not scaled. Read and written as transformers' `GPTNeoForCausalLM` does.
"""

from collections.abc import Mapping
from typing import Any

from nextword.core.errors import CheckpointError
from nextword.models import gpt_like
from nextword.models.family import Special, check_keys, check_value, required, typed
from nextword.models.fresh import DEPTH
from nextword.models.llama_like import each_attention, windowed
from nextword.models.settings import ModelSettings
from nextword.models.transformer import TransformerSettings
from nextword.models.weights import Rule, pair, same

_KEYS = """
    activation_function attention_dropout attention_layers attention_types classifier_dropout embed_dropout
    gradient_checkpointing hidden_size intermediate_size layer_norm_epsilon max_position_embeddings num_heads num_layers
    resid_dropout summary_activation summary_first_dropout summary_proj_to_labels summary_type summary_use_proj
    tie_word_embeddings vocab_size window_size
"""  # summary_...: of a head that language models do not have
KEYS = frozenset(_KEYS.split())
NAMES = gpt_like.Keys(
    **{"width": "hidden_size", "heads": "num_heads", "depth": "num_layers", "length": "max_position_embeddings"},
    **{"inner": "intermediate_size", "attention_dropout": "attention_dropout", "dropout": "resid_dropout"},
    embedding_dropout="embed_dropout",
)
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
    window = typed(config, "window_size", int, WINDOW)
    found = windowed(gpt_like.describe(config, NAMES), [{GLOBAL: None, LOCAL: window}[kind] for kind in kinds(config)])
    return each_attention(found, bias=False, output_bias=True, scale=1.0)


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
    return found


def ignored(config: Mapping[str, Any]) -> frozenset[str]:
    """Causal masks that early files hold."""
    places = [f"transformer.h.{layer}.attn.attention" for layer in range(config["num_layers"])]
    return frozenset(f"{place}.{name}" for place in places for name in ("bias", "masked_bias"))


def fresh(settings: ModelSettings, vocab_size: int, special: Special) -> dict[str, Any]:
    """The config.json of a fresh GPT-Neo, in transformers' layout; its layers see all and a window in turn."""
    depth = settings.depth or DEPTH
    turns = [[[GLOBAL, LOCAL], depth // 2], [[GLOBAL], depth % 2]]
    return gpt_like.fresh(settings, vocab_size, special, NAMES) | {
        "architectures": ["GPTNeoForCausalLM"],
        "attention_types": [turn for turn in turns if turn[1]],
        "model_type": "gpt_neo",
        "window_size": settings.window or WINDOW,
    }


FAMILY = gpt_like.gpt_like(
    *(describe, fresh, rules, "transformer.", "wte.weight"),
    honoured=gpt_like.HONOURED | {"window"},
    tokens="classifier",
    ignored=ignored,
)
