"""Who sees whom: from what must stay hidden to what attention adds to its scores.

    causal     a query sees itself and what stands before it
    window     only what is less than so many places away (Mistral; Beltagy et al., "Longformer", 2020)
    padding    never
    packed     documents do not see each other

All are decided by the places of query and key. Where nothing has to be hidden that the kernels cannot hide on their
own there is no mask at all, which is the fast way.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask

SLACK = 64  # so many tokens can be taken back from a cache that keeps no more than a window


@dataclass(frozen=True)
class Reach:
    """Which keys a layer's queries may see by their distance; `window` None is without limit."""

    causal: bool = True
    window: int | None = None

    def within(self, distance_BTS: Tensor) -> Tensor:
        """True where a key may be seen; `distance_BTS` is the key's place minus the query's."""
        seen_BTS = distance_BTS <= 0 if self.causal else torch.ones_like(distance_BTS, dtype=torch.bool)
        return seen_BTS if self.window is None else seen_BTS & (distance_BTS.abs() < self.window)

    @property
    def room(self) -> int | None:
        """The places that a rolling cache keeps for such a layer; None: all of them."""
        return None if self.window is None or not self.causal else self.window + SLACK

    def limited(self, span: int) -> bool:
        """Whether the window hides something of a text of `span` tokens."""
        return self.window is not None and self.window < span


@dataclass(frozen=True)
class Sight:
    """What the queries of a call see: themselves and all before them (`causal`), or what `mask` says; without one all.

    mask: (B or 1, H or 1, T, S), True where a key is seen, or numbers that are added to the scores. blocks: in place of
    a mask where `nextword.nn.flexible` pays.
    """

    causal: bool = False
    mask: Tensor | None = None
    blocks: BlockMask | None = None


CAUSAL, ALL = Sight(causal=True), Sight()


def padding(mask_BS: Tensor) -> Tensor:
    """mask_B1S of real keys; in a row without any all are seen, lest the softmax divide by nothing."""
    return (mask_BS | ~mask_BS.any(-1, keepdim=True))[:, None]


def sight(seen_BTS: Tensor | None, bias_BHTS: Tensor | None, causal: bool = False) -> Sight:
    """What may be seen and what is added to scores, as one; either may be missing."""
    if seen_BTS is None:
        return Sight(causal, bias_BHTS)
    if bias_BHTS is None:
        return Sight(mask=seen_BTS[:, None])
    return Sight(mask=bias_BHTS.masked_fill(~seen_BTS[:, None], float("-inf")))
