"""Which transformers the compiled step of decoders computes (`nextword/nn/kernels/decoder_step`), by their description.

Blocks with the norm before each part, attention to all before, RoPE (all scalings but the dynamic one) or learned
positions, with or without biases, norms of heads, and a gate. Whether the weights lie as the kernel reads them, and
whether compiling pays, `engine/plans/decoder` says.
"""

from dataclasses import replace

from nextword.models.transformer import TransformerSettings
from nextword.nn.attention import AttentionSettings
from nextword.nn.block import BlockSettings
from nextword.nn.embedding import EmbeddingSettings
from nextword.nn.feedforward import FeedForwardSettings
from nextword.nn.head import HeadSettings
from nextword.nn.position.rope import STRETCHING

NORMS = {"rms", "rms about one", "layer", "plain layer", "bare layer"}
# activations by their names in configs, as the kernel calls them
ACTIVATIONS = {
    "silu": "silu",
    "swish": "silu",
    "gelu": "gelu",
    "gelu_python": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "relu": "relu",
    "relu2": "relu2",
    "quick_gelu": "quick_gelu",
}


def compilable(settings: TransformerSettings) -> bool:
    """Whether a description has nothing that the kernel lacks; layers may differ in scale and in whether they turn."""
    first = settings.blocks[0]
    a, ffn = first.attention, first.feedforward
    attention = AttentionSettings(
        *(a.width, a.heads, a.kv_heads, a.head_width, a.bias, a.dropout),
        qk_norm=a.qk_norm,
        rotary_width=a.rotary_width,
        output_bias=a.output_bias,
    )
    feedforward = FeedForwardSettings(ffn.width, ffn.ffn_width, ffn.activation, ffn.bias, ffn.gated, ffn.dropout)
    wanted = BlockSettings(first.norm, attention, feedforward, dropout=first.dropout, zero=first.zero)
    around = settings.embedding or EmbeddingSettings()
    known = EmbeddingSettings(
        around.positions, around.max_length, scale=around.scale, dropout=around.dropout,
        scale_rounded=around.scale_rounded, skipped=around.skipped,
    )  # fmt: skip
    alike = (replace(b, attention=replace(b.attention, scale=None, rotary=True)) for b in settings.blocks)
    return (
        settings.kind == "decoder"
        and all(block == wanted for block in alike)
        and first.norm.kind in NORMS
        and (a.qk_norm is None or a.qk_norm.kind in NORMS)
        and ffn.activation in ACTIVATIONS
        and settings.norm == first.norm
        and around == known
        and around.positions in {None, "learned"}
        and settings.head == HeadSettings(bias=settings.head.bias)
        and settings.output
        and settings.bias is settings.near_rope is settings.order is None
        and (settings.rope is None or not isinstance(settings.rope.scaling, STRETCHING))
    )
