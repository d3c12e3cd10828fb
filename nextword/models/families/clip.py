"""CLIP as it is published, with both towers: what is read is the text tower, with its projection.

Radford et al., "Learning Transferable Visual Models From Natural Language Supervision" (2021). The half that sees
images is passed over; saved again, the model is a `CLIPTextModelWithProjection`, see
`nextword.models.families.clip_text_model`.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from nextword.models.families import clip_text_model
from nextword.models.families.clip_text_model import END, PROJECTED
from nextword.models.family import Family, check_keys, typed
from nextword.models.transformer import Transformer

_KEYS = """
    initializer_factor logit_scale_init_value projection_dim text_config text_config_dict tie_word_embeddings
    vision_config vision_config_dict
"""
KEYS = frozenset(_KEYS.split())
MODEL_TYPE = "clip_text_model"
# what transformers takes where `text_config_dict`, which counts more than `text_config`, says nothing
DEFAULTS = {
    **{"attention_dropout": 0.0, "eos_token_id": END, "hidden_act": "quick_gelu", "hidden_size": 512},
    **{"intermediate_size": 2048, "layer_norm_eps": 1e-5, "max_position_embeddings": 77, "num_attention_heads": 8},
    **{"num_hidden_layers": 12, "vocab_size": 49408},
}
LAYERS = 12  # of a vision tower that does not say
VISION = (
    "embeddings.class_embedding",
    "embeddings.patch_embedding.weight",
    "embeddings.position_embedding.weight",
    "embeddings.position_ids",
)
PARTS = (
    *(f"self_attn.{part}_proj" for part in ("q", "k", "v", "out")),
    *("mlp.fc1", "mlp.fc2", "layer_norm1", "layer_norm2"),
)
ENDS, KINDS = ("pre_layrnorm", "post_layernorm"), ("weight", "bias")


def text_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config.json of the text tower alone."""
    check_keys(config, KEYS)
    further = typed(config, "text_config_dict", dict, None)
    text = DEFAULTS | typed(config, "text_config", dict, {}) | ({} if further is None else DEFAULTS | further)
    wide = typed(config, "projection_dim", int, 512)
    return text | {"architectures": [PROJECTED], "model_type": MODEL_TYPE, "projection_dim": wide}


def build(config: dict[str, Any]) -> Transformer:
    """The text tower that a config.json describes."""
    return clip_text_model.build(text_config(config))


def vision_names(config: Mapping[str, Any]) -> frozenset[str]:
    """The tensors that only a reader of images needs, and the scale of both towers' products."""
    vision = typed(config, "vision_config", dict, {}) | typed(config, "vision_config_dict", dict, {})
    names = [*VISION, *(f"{norm}.{kind}" for norm in ENDS for kind in KINDS)]
    for layer in range(typed(vision, "num_hidden_layers", int, LAYERS)):
        names += [f"encoder.layers.{layer}.{part}.{kind}" for part in PARTS for kind in KINDS]
    return frozenset({"logit_scale", "visual_projection.weight", *(f"vision_model.{name}" for name in names)})


def settled(config: dict[str, Any], stored: dict[str, Tensor]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The text tower alone."""
    passed = vision_names(config)
    return text_config(config), {name: tensor for name, tensor in stored.items() if name not in passed}


FAMILY = Family(
    frozenset(),
    config=clip_text_model.fresh,
    build=build,
    rules=lambda config: clip_text_model.rules(text_config(config)),
    settled=settled,
)
