"""What is done to the blocks of a transformer for training alone: computing activations again, and compiling.

Recomputation: the backward pass needs what the forward pass computed inside each block. Keeping only the blocks' inputs
and computing the rest again takes a third more work and, for L layers, nearly 1/L of the memory (Chen et al. 2016,
"Training deep nets with sublinear memory cost"). The numbers are the same, dropout included.

Compiling by block: torch.compile fuses what stands between matrix products into few kernels. Blocks of equal settings
share their compiled code, so a deep model compiles as fast as a shallow one.
"""

from functools import partial

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from nextword.core.errors import SettingsError
from nextword.nn.block import Block
from nextword.train.settings import TrainSettings


def blocks_of(model: nn.Module) -> list[Block]:
    """Every block, of the encoder and of the decoder."""
    return [module for module in model.modules() if isinstance(module, Block)]


def check(model: nn.Module, settings: TrainSettings) -> None:
    """SettingsError where recomputation cannot take effect."""
    if settings.recompute and not blocks_of(model):
        raise SettingsError("train.recompute works block by block, and this model has no blocks: leave it out")


def recompute(model: nn.Module) -> None:
    """Makes the model's blocks compute their activations again in the backward pass."""
    for block in blocks_of(model):
        block.forward = partial(checkpoint, block.forward, use_reentrant=False)


def compile_blocks(model: nn.Module, device: torch.device) -> str | None:
    """Compiles the model's blocks at their first use; why not, where torch.compile does not work here."""
    blocks = blocks_of(model)
    if not blocks:
        return "this model has no blocks"
    try:
        x = torch.ones(8, device=device, requires_grad=True)
        torch.compile(lambda x: (x.sin() * x).sum())(x).backward()
    except Exception as error:  # noqa: BLE001 - whatever a compiler or its absence raises
        return f"torch.compile does not work here ({type(error).__name__}: {str(error).splitlines()[0]})"
    for block in blocks:
        block.compile()
    return None
