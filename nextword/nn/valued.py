"""Attention whose values hold something of the token itself, looked up in a table: value embeddings.

    v_s ← W_v x_s + g_s ⊙ U[w_s]          g_s = 2 σ(W_g x_s[:32]), one number a head

What a token is gets lost on the way up through the layers; a table U of its own for a layer lets attention hand it on
at no cost but a lookup, and the gate decides by context how much of it (Zhou et al., "Value Residual Learning", 2024;
modded-nanogpt and nanochat, 2025). The gate starts at 1 for every head.
"""

import torch
from torch import Tensor, nn

from nextword.nn.attention import Attention, AttentionSettings
from nextword.nn.cache import LayerCache, View
from nextword.nn.init import zeros
from nextword.nn.mask import Sight

GATE_WIDTH = 32  # so many coordinates of x decide


class ValuedAttention(Attention):
    """x_BTD and U[w] as value_BTD -> what each position takes, (B, T, D)."""

    def __init__(self, settings: AttentionSettings) -> None:
        super().__init__(settings)
        self.gate = nn.Linear(min(GATE_WIDTH, settings.width), settings.kv_heads, bias=False)

    def forward(
        self,
        x_BTD: Tensor,
        angles: tuple[Tensor, ...],
        sight: Sight,
        view: View | None = None,
        memory: LayerCache | None = None,
        value_BTD: Tensor | None = None,
    ) -> Tensor:
        """As Attention's; `value_BTD` (B, T, kv_heads · E) is U[w]."""
        gate_BTK1 = 2 * torch.sigmoid(self.gate(x_BTD[..., : self.gate.in_features])).unsqueeze(-1)
        own_BTKE = value_BTD.unflatten(-1, (-1, self.settings.head_width))
        value_BTKE = torch.addcmul(self.value(x_BTD).view_as(own_BTKE), gate_BTK1, own_BTKE)
        return self.take(x_BTD, value_BTKE.transpose(1, 2), angles, sight, view, memory)

    def initialise(self, std: float, output_std: float, generator: torch.Generator) -> None:
        """As Attention's; the gate's weights 0."""
        super().initialise(std, output_std, generator)
        zeros(self.gate.weight)
