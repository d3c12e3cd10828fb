"""Gemma 2 and 3 in GGUF: layers with a window and layers without, in a pattern that a file need not name.

llama.cpp knows the pattern by the architecture (the last of every `pattern` layers sees all) and takes the scale of the
scores from the sizes; what differs from that cannot be said and is refused.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nextword.core.errors import CheckpointError
from nextword.models.gguf.architecture import Architecture, Getter
from nextword.models.llama_like import FULL, SLIDING
from nextword.models.transformer import TransformerSettings
from nextword.nn.position.rope import Plain

CAP, LOGIT_CAP, NEAR = "attn_logit_softcapping", "final_logit_softcapping", "rope.freq_base_swa"
SLIDING_WINDOW = "attention.sliding_window"


@dataclass(frozen=True, kw_only=True)
class NearAndFar(Architecture):
    """pattern: of so many layers the last has no window. window: its length where a file does not say (None: none).

    caps: what is softly capped, and its bound where a file does not say (None: it need not be). near_base: of rotary
    angles in layers with a window, None where all layers share one. The models of `wide_scale` layers scale scores by
    1/√(width / heads), all others by 1/√head width.
    """

    pattern: int
    caps: Mapping[str, float | None]
    wide_scale: int
    window: int | None = None
    near_base: float | None = None

    def config_of_more(self, get: Getter, found: Mapping[str, Any]) -> dict[str, Any]:
        """Windows, caps, scale and the rotary base of near layers."""
        layers, window = found["num_hidden_layers"], self.window
        if get.own.get(SLIDING_WINDOW):
            window = get.integer(SLIDING_WINDOW)
        kinds = [SLIDING if window and self.near(layer) else FULL for layer in range(layers)]
        more: dict[str, Any] = {"layer_types": kinds, "sliding_window": window or found["max_position_embeddings"]}
        for key, usual in self.caps.items():
            more[key] = get.number(key, usual) if usual or key in get.own else None
        wide = layers == self.wide_scale
        width = found["hidden_size"] // found["num_attention_heads"] if wide else found["head_dim"]
        more["query_pre_attn_scalar"] = width
        if self.near_base is not None:
            near = {"rope_type": "default", "rope_theta": get.number(NEAR, self.near_base)}
            more["rope_parameters"] = {FULL: found["rope_parameters"], SLIDING: near}
        return more

    def near(self, layer: int) -> bool:
        """Whether a layer has a window."""
        return layer % self.pattern < self.pattern - 1

    def values_of_more(self, name: str, settings: TransformerSettings) -> dict[str, Any]:
        """The same the other way; CheckpointError for another pattern, scale, or place of the caps."""
        attentions = [block.attention for block in settings.blocks]
        windows = {attention.reach.window for attention in attentions} - {None}
        kinds = [attention.reach.window is not None for attention in attentions]
        if len(windows) != 1 or kinds != [self.near(layer) for layer in range(len(kinds))]:
            raise CheckpointError(f"GGUF's {name} has a window in all but the last of each {self.pattern} layers")
        wide = len(attentions) == self.wide_scale
        width = settings.width // attentions[0].heads if wide else attentions[0].head_width
        if attentions[0].scale is not None and abs(attentions[0].scale * width**0.5 - 1) > 1e-6:  # noqa: PLR2004
            raise CheckpointError(f"GGUF's {name} of these sizes scales scores by 1/√{width}; this model does not")
        found: dict[str, Any] = {SLIDING_WINDOW: windows.pop()}
        bounds = {CAP: attentions[0].cap, LOGIT_CAP: settings.head.cap}
        for key, usual in self.caps.items():
            if bounds[key] is None and usual is not None:
                raise CheckpointError(f"GGUF's {name} caps scores and logits; this model has no {key}")
            found |= {} if bounds[key] is None else {key: float(bounds[key])}
        near = settings.near_rope
        if near is not None and not isinstance(near.scaling, Plain):
            raise CheckpointError(f"GGUF's {name} scales no rotary positions of layers with a window")
        return found | ({NEAR: float(near.base)} if near is not None and near.base != self.near_base else {})
