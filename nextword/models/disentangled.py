"""DeBERTa's body: a post-norm encoder whose layers share one table of relative distances.

He et al., "DeBERTa: Decoding-enhanced BERT with Disentangled Attention" (2021). Version 2 adds, behind the first layer,
a convolution over what it read. The mechanism stands in `nextword.nn.disentangled`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from nextword.core.errors import SettingsError
from nextword.models.base import Batch
from nextword.models.costs import Costs
from nextword.models.stack import Places
from nextword.models.transformer import PARTS, Transformer, TransformerSettings
from nextword.nn.block import Source
from nextword.nn.cache import KVCache
from nextword.nn.disentangled import Convolution, DisentangledSettings, Distances
from nextword.nn.norm import NormSettings


@dataclass(frozen=True)
class ConvolutionSettings:
    """kernel: places that are looked at together, an odd number. groups: of coordinates that see only each other."""

    kernel: int
    groups: int
    activation: str
    dropout: float


@dataclass(frozen=True, kw_only=True)
class DisentangledTransformerSettings(TransformerSettings):
    """An encoder whose attention is disentangled.

    span: half the rows of the table of distances. farthest: where buckets end, None for a row for each distance.
    distance_norm: on the table. convolution: behind the first layer.
    """

    span: int
    farthest: int | None
    distance_norm: NormSettings | None
    convolution: ConvolutionSettings | None


class DisentangledTransformer(Transformer):
    """As Transformer, an encoder."""

    PARTS: ClassVar[dict[str, str]] = PARTS | {"distances": "positions", "convolution": "convolution"}
    settings: DisentangledTransformerSettings

    def __init__(self, settings: DisentangledTransformerSettings, config: dict[str, Any]) -> None:
        super().__init__(settings, config)
        self.distances = Distances(settings.width, settings.span, settings.farthest, settings.distance_norm)
        self.convolution = second
        if settings.convolution is not None:
            c, norm = settings.convolution, settings.blocks[0].norm
            self.convolution = Convolution(norm, c.kernel, c.groups, c.activation, c.dropout)

    def run(
        self,
        x_BTD: Tensor,
        batch: Batch,
        places: Places,
        cache: KVCache | None = None,
        sources: Sequence[Source] | None = None,
    ) -> Tensor:
        """hidden_BTD behind the last block."""
        if places.begins_BT is not None and self.settings.convolution is not None:
            raise SettingsError("a convolution would mix packed documents: give each a row of its own")
        if batch.mask_BT is not None:
            x_BTD = x_BTD * batch.mask_BT[..., None]
        distances, sights = self.distances(x_BTD.shape[1]), self.sights(batch, places, x_BTD)
        first_BTD = self.blocks[0](x_BTD, distances, sights[0])
        x_BTD = self.convolution(x_BTD, first_BTD)
        for block, sight in zip(self.blocks[1:], sights[1:], strict=True):
            x_BTD = block(x_BTD, distances, sight)
        return x_BTD

    def costs(self) -> Costs:
        """A token meets every row of the table in each layer and way, the matrices that project it only once a text."""
        found, rows = super().costs(), 2 * self.settings.span
        for block in self.blocks:
            attention = block.settings.attention
            assert isinstance(attention, DisentangledSettings)
            ways, width = attention.asks + attention.asked, attention.heads * attention.head_width
            found += Costs(ways * (rows * width - (0 if attention.shared else attention.width * width)))
        convolved = 0 if self.settings.convolution is None else self.convolution.conv.weight.numel()
        return replace(found, matrices=found.matrices + convolved)

    def draw(self, std: float, generator: torch.Generator) -> None:
        """As Stack's; the table of distances and the convolution, too."""
        super().draw(std, generator)
        self.distances.initialise(std, generator)
        if self.settings.convolution is not None:
            self.convolution.initialise(std, generator)


def second(x_BTD: Tensor, y_BTD: Tensor) -> Tensor:
    """What the first layer made, where no convolution joins it with what the layer read."""
    return y_BTD
