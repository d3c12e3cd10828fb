"""One block of a transformer: attention, then feed-forward, each added to the stream that runs through all blocks.

    x ← x + attention(norm(x))
    x ← x + feedforward(norm(x))

The norm stands before each part ("pre-norm"; Xiong et al., "On Layer Normalization in the Transformer Architecture",
2020), so that the stream itself is never rescaled and gradients reach the first layer unhindered.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nextword.nn.attention import Attention, AttentionSettings
from nextword.nn.cache import LayerCache, View
from nextword.nn.feedforward import FeedForwardSettings, GatedFeedForward
from nextword.nn.norm import NormSettings, RMSNorm


@dataclass(frozen=True)
class BlockSettings:
    """The parts of one pre-norm block."""

    norm: NormSettings
    attention: AttentionSettings
    feedforward: FeedForwardSettings


class Block(nn.Module):
    """x_BTD -> x_BTD, one layer further."""

    def __init__(self, settings: BlockSettings) -> None:
        super().__init__()
        self.attention_norm = RMSNorm(settings.norm)
        self.attention = Attention(settings.attention)
        self.feedforward_norm = RMSNorm(settings.norm)
        self.feedforward = GatedFeedForward(settings.feedforward)

    def forward(
        self, x_BTD: Tensor, turn: tuple[Tensor, Tensor], view: View | None = None, cache: LayerCache | None = None
    ) -> Tensor:
        """`turn`, `view` and `cache` are the attention's."""
        x_BTD = x_BTD + self.attention(self.attention_norm(x_BTD), turn, view, cache)
        return x_BTD + self.feedforward(self.feedforward_norm(x_BTD))

    def initialise(self, std: float, output_std: float, generator: torch.Generator) -> None:
        """Draws the weights of both parts; the norms start as ones."""
        nn.init.ones_(self.attention_norm.weight)
        self.attention.initialise(std, output_std, generator)
        nn.init.ones_(self.feedforward_norm.weight)
        self.feedforward.initialise(std, output_std, generator)
