"""Weight decay beside an update: w <- w (1 - amount) everywhere, or only where that agrees with the update.

Decay pulls every number towards 0, also those that the update is just making larger. Cautious decay leaves these alone:

    w <- w - rate (u + decay · [u w >= 0] w)        for an update w <- w - rate u

(Chen et al. 2025, "Cautious Weight Decay"). It asks for the direction of u alone, so any u with the same signs serves.
"""

import torch
from torch import Tensor


def shrink(weights: list[Tensor], amount: float, directions: list[Tensor] | None = None) -> None:
    """Shrinks the weights by a share of `amount`; with `directions` (of the updates) only where they agree."""
    if not amount:
        return
    if directions is None:
        torch._foreach_mul_(weights, 1 - amount)
        return
    factors = list(torch._foreach_mul(weights, directions))
    torch._foreach_sign_(factors)
    torch._foreach_add_(factors, 1)
    torch._foreach_clamp_max_(factors, 1)  # 1 where both have one sign or one is 0, else 0
    torch._foreach_mul_(factors, -amount)
    torch._foreach_add_(factors, 1)
    torch._foreach_mul_(weights, factors)
