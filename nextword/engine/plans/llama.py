"""The compiled plan of Llama-shaped decoders on the CPU: a whole step in one call (`nextword/nn/kernels/llama_step`).

One sequence is decoded at the speed at which memory delivers the weights: in bf16 that is twice the speed of fp32, on
any processor. It serves models whose blocks are RMSNorm, RoPE (all scalings but the dynamic one), grouped-query
attention and SiLU feed-forward without biases, in bf16 or fp32; everything else takes the plain step.

The first call ever compiles for some seconds; the machine code stays on the disk (`nextword/nn/kernels/disk`), later
processes load it in a fraction of a second. `auto` weighs this against what the tokens asked for will save.
"""

import torch

from nextword.engine.step import Compiled, Stepper
from nextword.models.base import LanguageModel
from nextword.models.transformer import Transformer
from nextword.nn.attention import AttentionSettings, fast_bfloat16
from nextword.nn.block import BlockSettings
from nextword.nn.feedforward import FeedForwardSettings
from nextword.nn.head import HeadSettings
from nextword.nn.position.rope import STRETCHING

# For `auto`, in seconds on two cores of 2021: they need to be right to a factor of two only.
COMPILE_SECONDS = 10.0
LOAD_SECONDS = 1.5  # Numba itself and the machine code from the disk
SAVED_PER_LAYER = 8e-5  # the calls of PyTorch's operations that a compiled step does not make
SAVED_PER_WEIGHT = 4e-11  # the difference in reading weights


def plan(model: LanguageModel, tokens: int, mode: Compiled) -> Stepper | None:
    """The compiled steps of a model that is to generate `tokens` tokens; None where they do not fit or do not pay."""
    if not isinstance(model, Transformer) or not fits(model):
        return None
    saved = saving(model, tokens)
    slow = model.embedding.weight.dtype == torch.bfloat16 and not fast_bfloat16()  # the plain step would be unusable
    if mode == "auto" and saved < LOAD_SECONDS and not slow:
        return None
    from nextword.engine import compiled_llama  # noqa: PLC0415 - Numba costs a second that a short text need not pay

    if mode == "auto" and saved < COMPILE_SECONDS and not slow and not compiled_llama.ready(model):
        return None
    return compiled_llama.CompiledSteps(model)


def fits(model: Transformer) -> bool:
    """Whether the kernel computes what this model computes."""
    weights = list(model.parameters())
    kind, settings = weights[0].dtype, model.settings
    block = settings.blocks[0]
    return (
        kind in {torch.bfloat16, torch.float32}
        and all(w.dtype == kind and w.device.type == "cpu" and w.is_contiguous() for w in weights)
        and set(settings.blocks) == {block}
        and plain(block)
        and block.norm == settings.norm
        and settings.output
        and settings.embedding is None
        and settings.head == HeadSettings()
        and settings.bias is None
        and settings.rope is not None
        and not isinstance(settings.rope.scaling, STRETCHING)
    )


def plain(block: BlockSettings) -> bool:
    """Whether a block is pre-norm, RMSNorm, rotary grouped-query attention to all before, SwiGLU, and nothing else."""
    a, ffn = block.attention, block.feedforward
    attention = AttentionSettings(a.width, a.heads, a.kv_heads, a.head_width, dropout=a.dropout)
    feedforward = FeedForwardSettings(ffn.width, ffn.ffn_width, ffn.activation, dropout=ffn.dropout)
    wanted = BlockSettings(block.norm, attention, feedforward, dropout=block.dropout)
    return block == wanted and block.norm.kind == "rms" and ffn.activation in {"silu", "swish"}


def saving(model: Transformer, tokens: int) -> float:
    """About how many seconds compiled steps take less than plain ones for so many tokens."""
    weights = sum(weight.numel() for weight in model.parameters())
    return tokens * (SAVED_PER_LAYER * len(model.blocks) + SAVED_PER_WEIGHT * weights)
