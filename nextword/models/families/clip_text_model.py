"""CLIP's text tower: an encoder that reads from left to right and gives a text the vector of its end token.

Radford et al., "Learning Transferable Visual Models From Natural Language Supervision" (2021). Text and image are
brought to vectors that lie close where they belong together; image generators read the states of all tokens (Rombach
et al., "High-Resolution Image Synthesis with Latent Diffusion Models", 2022). Read and written as transformers'
`CLIPTextModel` does, and `CLIPTextModelWithProjection`, whose last matrix leads to where images' vectors are.

The end token is the first one of `eos_token_id`; files from before 2023 say 2 there, which is wrong, and mean the first
token of the highest id.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from nextword.core.errors import SettingsError
from nextword.models.encoders import Architecture, architecture, pairs
from nextword.models.family import (
    Family,
    Special,
    check_keys,
    check_off,
    divided,
    known_activation,
    required,
    typed,
)
from nextword.models.heads import VECTOR, FurtherHeadSettings
from nextword.models.settings import ModelSettings
from nextword.models.transformer import Transformer, TransformerSettings
from nextword.models.weights import Rule, pair, same
from nextword.nn.attention import AttentionSettings
from nextword.nn.block import BlockSettings
from nextword.nn.embedding import EmbeddingSettings
from nextword.nn.feedforward import FeedForwardSettings
from nextword.nn.norm import NormSettings

_OFF = "add_cross_attention cross_attention_hidden_size is_decoder is_encoder_decoder pruned_heads"
OFF = tuple(_OFF.split())  # what every config held in 2021
_KEYS = """
    attention_dropout dropout hidden_act hidden_size initializer_factor intermediate_size layer_norm_eps
    max_position_embeddings num_attention_heads num_hidden_layers projection_dim tie_encoder_decoder
    tie_word_embeddings vocab_size
"""  # dropout: never used; tie_...: of an output that is not here
KEYS = frozenset(_KEYS.split()).union(OFF)
BARE, PROJECTED = "CLIPTextModel", "CLIPTextModelWithProjection"
END, OLD_END = 49407, 2  # of OpenAI's vocabulary; what early configs say
BASE, PROJECTION = "text_model.", "text_projection."
NEW_NAMES = 5  # the version of transformers from which on a bare tower's names do not begin with BASE
LAYER = {
    **{f"self_attn.{part[0]}_proj": f"attention.{part}" for part in ("query", "key", "value")},
    **{"self_attn.out_proj": "attention.output", "mlp.fc1": "feedforward.up", "mlp.fc2": "feedforward.down"},
    **{"layer_norm1": "attention_norm", "layer_norm2": "feedforward_norm"},
}


def describe(config: Mapping[str, Any]) -> TransformerSettings:
    """Our description of the blocks from a config.json; CheckpointError naming the key that is wrong or unknown."""
    check_keys(config, KEYS)
    for key in OFF:
        check_off(config, key)
    width, heads = required(config, "hidden_size", int), required(config, "num_attention_heads", int)
    norm = NormSettings(width, typed(config, "layer_norm_eps", float, 1e-5), "layer")
    attention = AttentionSettings(
        **{"width": width, "heads": heads, "kv_heads": heads, "bias": True, "rotary": False},
        head_width=divided(width, heads, ("hidden_size", "num_attention_heads")),
        dropout=typed(config, "attention_dropout", float, 0.0),
    )
    activation = known_activation(config, "hidden_act", "quick_gelu")
    ffn = FeedForwardSettings(width, required(config, "intermediate_size", int), activation, bias=True, gated=False)
    max_length = typed(config, "max_position_embeddings", int, 77)
    return TransformerSettings(
        blocks=(BlockSettings(norm, attention, ffn),) * required(config, "num_hidden_layers", int),
        norm=norm,
        vocab_size=required(config, "vocab_size", int),
        width=width,
        max_length=max_length,
        tied=True,
        kind="encoder",
        embedding=EmbeddingSettings("learned", max_length),
        output=False,
        heads=on_body(config).heads,
    )


def on_body(config: Mapping[str, Any]) -> Architecture:
    """What stands on the body: the vector of the end token, with a matrix behind it or without."""
    end = config.get("eos_token_id", END)
    pool = "highest" if end == OLD_END else "marked"
    width, wide = required(config, "hidden_size", int), typed(config, "projection_dim", int, 512)
    known = {
        BARE: Architecture(BASE, heads=(FurtherHeadSettings(VECTOR, width, 0, pool, mark=end),)),
        PROJECTED: Architecture(BASE, heads=(FurtherHeadSettings(VECTOR, width, wide, pool, bias=False, mark=end),)),
    }
    return architecture(config, known, BARE)


def build(config: dict[str, Any]) -> Transformer:
    """The model that a config.json describes."""
    return Transformer(describe(config), config)


def base(config: Mapping[str, Any]) -> str:
    """With what the body's names begin; transformers 5 writes those of a bare tower without anything."""
    version = str(config.get("transformers_version", "")).split(".")[0]
    new = version.isdecimal() and int(version) >= NEW_NAMES
    return "" if new and not on_body(config).heads[0].labels else BASE


def rules(config: Mapping[str, Any]) -> list[Rule]:
    """How transformers names the tensors."""
    begin = base(config)
    found = [
        same(f"{begin}embeddings.token_embedding.weight", "embedding.weight"),
        same(f"{begin}embeddings.position_embedding.weight", "embedding.positions.weight"),
        *pair(f"{begin}final_layer_norm", "norm"),
    ]
    for layer in range(config["num_hidden_layers"]):
        found += pairs(f"{begin}encoder.layers.{layer}.", f"blocks.{layer}.", LAYER)
    if on_body(config).heads[0].labels:
        found.append(same(f"{PROJECTION}weight", f"heads.{VECTOR}.classes.weight"))
    return found


def ignored(config: Mapping[str, Any]) -> frozenset[str]:
    """Numbers from 0 on that early files hold."""
    return frozenset({f"{base(config)}embeddings.position_ids"})


def older(names: Iterable[str], config: Mapping[str, Any]) -> dict[str, str]:
    """The body's names as another version of transformers writes them."""
    body = [name for name in names if not name.startswith(PROJECTION)]
    return {name: base(config) + name.removeprefix(BASE) for name in body}


def fresh(settings: ModelSettings, vocab_size: int, special: Special) -> dict[str, Any]:
    """SettingsError: there is nothing here to train one with."""
    raise SettingsError(
        "CLIP's text tower learns from texts with their images, which nextword does not train: load one"
    )


FAMILY = Family(frozenset(), config=fresh, build=build, rules=rules, ignored=ignored, older=older)
