"""The compiled plan of decoders on the CPU: a whole step in one call (`nextword/nn/kernels/decoder_step`).

One sequence is decoded at about the speed at which memory delivers the weights: in bf16 that is twice the speed of
fp32, on any processor, and fewer bits are faster again. It serves models shaped as Llama or GPT-2 are: blocks with
the norm before each part, attention to all before, RoPE (all scalings but the dynamic one) or learned positions, with
or without biases, norms of heads, and a gate; their matrices in bf16, fp32, or quantised. Everything else takes the
plain step.

The first call ever compiles for some seconds; the machine code stays on the disk (`nextword/nn/kernels/disk`), later
processes load it in a fraction of a second. `auto` weighs this against what the tokens asked for will save.
"""

import torch
from torch import Tensor, nn

from nextword.engine.step import Compiled, Stepper
from nextword.models.base import LanguageModel
from nextword.models.compilable import compilable
from nextword.models.transformer import Transformer
from nextword.nn.attention import fast_bfloat16
from nextword.nn.block import Block
from nextword.nn.feedforward import GatedFeedForward
from nextword.quant.linear import QuantisedLinear
from nextword.quant.table import Coded

# For `auto`, in seconds on two cores of 2021: they need to be right to a factor of two only.
COMPILE_SECONDS = 20.0
LOAD_SECONDS = 1.5  # Numba itself and the machine code from the disk
SAVED_PER_LAYER = 8e-5  # the calls of PyTorch's operations that a compiled step does not make
SAVED_PER_WEIGHT = 4e-11  # the difference in reading weights
SAVED_PER_QUANTISED = 5e-10  # a plain step makes each weight before it multiplies
SAVED_PER_HALF = 2e-10  # it widens each weight before it multiplies


def plan(model: LanguageModel, tokens: int, mode: Compiled) -> Stepper | None:
    """The compiled steps of a model that is to generate `tokens` tokens; None where they do not fit or do not pay."""
    if type(model) is not Transformer or not fits(model):
        return None
    saved = saving(model, tokens)
    slow = computed_type(model) == torch.bfloat16 and not fast_bfloat16()  # the plain step would be unusable
    if mode == "auto" and saved < LOAD_SECONDS and not slow:
        return None
    from nextword.engine import compiled  # noqa: PLC0415 - Numba costs a second that a short text need not pay

    if mode == "auto" and saved < COMPILE_SECONDS and not slow and not compiled.ready(model):
        return None
    return compiled.CompiledSteps(model)


def fits(model: Transformer) -> bool:
    """Whether the kernel computes what this model computes."""
    tensors = [*model.parameters(), *model.buffers()]
    return (
        compilable(model.settings)
        and all(tensor.device.type == "cpu" for tensor in tensors)
        and len({stored_type(layer) for block in model.blocks for layer in matrices(block) if layer}) == 1
        and matrix_type(model) in {torch.bfloat16, torch.float32, torch.int8, torch.uint8}
        and edge_type(model) in {torch.bfloat16, torch.float32, torch.int8}
    )


def matrices(block: Block) -> list[nn.Module | None]:
    """The matrices of a layer in the order of the kernel's MATRICES; None where there is no gate."""
    attention, feedforward = block.attention, block.feedforward
    gate = feedforward.gate if isinstance(feedforward, GatedFeedForward) else None
    return [
        *(attention.query, attention.key, attention.value, attention.output),
        *(gate, feedforward.up, feedforward.down),
    ]


def stored_type(layer: nn.Module) -> torch.dtype:
    """What a layer's matrix is stored as."""
    held: Tensor = layer.codes if isinstance(layer, QuantisedLinear | Coded) else layer.weight
    return held.dtype


def matrix_type(model: Transformer) -> torch.dtype:
    """What the matrices of the layers are stored as."""
    return stored_type(model.blocks[0].attention.query)


def computed_type(model: Transformer) -> torch.dtype:
    """What the model's own step computes in."""
    return model.embedding.like.dtype


def output_of(model: Transformer) -> nn.Module:
    """Whose matrix scores the tokens: the head, or the embedding where they are tied."""
    return model.embedding if model.settings.tied else model.head


def edge_type(model: Transformer) -> torch.dtype | None:
    """What embedding and head are stored as; None where they differ."""
    kinds = {stored_type(model.embedding), stored_type(output_of(model))}
    return kinds.pop() if len(kinds) == 1 else None


def saving(model: Transformer, tokens: int) -> float:
    """About how many seconds compiled steps take less than plain ones for so many tokens."""
    weights, each = model.costs().matrices, SAVED_PER_WEIGHT
    if matrix_type(model) in {torch.int8, torch.uint8}:
        each = SAVED_PER_QUANTISED
    elif matrix_type(model) != computed_type(model):
        each = SAVED_PER_HALF
    return tokens * (SAVED_PER_LAYER * len(model.blocks) + each * weights)
