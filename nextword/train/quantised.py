"""Numbers in 8 bits: blocks of 256, each with its largest size, and one of 256 codes a number (Dettmers et al. 2022).

    code(x) = the nearest of 256 values between -1 and 1 to x / max |block|

A block of its own scale keeps one large number from spoiling the rest of a tensor. The values are dynamic: they lie
close together near 0 and far apart near 1, since running means of gradients differ by many powers of ten. Of 7 bits
after the sign, leading zeros count powers of ten (10^0 to 10^-6), and what is left of them divides that power's tenth
to whole evenly, in 2^(6 - zeros) parts; a number without sign has a bit more for the parts ("8-bit Optimizers via
Block-wise Quantization", section 1.3).
"""

import torch
from torch import Tensor

from nextword.nn.kernels.adamw8bit import cells

BLOCK = 256
POWERS = 7  # of ten
LEAST = 1e-38  # the largest of a block of zeros counts as this


def dynamic_values(signed: bool) -> Tensor:
    """The 256 values, rising; with a sign -0.99 ... 1, without 0 ... 1.

    >>> values = dynamic_values(signed=True)
    >>> len(values), float(values[127]), float(values[255]), round(float(values[128]), 9)
    (256, 0.0, 1.0, 5.5e-07)
    """
    found = [0.0, 1.0]
    for power in range(POWERS):
        parts = 2 ** (power if signed else power + 1)
        edges = torch.linspace(0.1, 1, parts + 1, dtype=torch.float64)
        middles = ((edges[1:] + edges[:-1]) / 2 * 10.0 ** (power + 1 - POWERS)).tolist()
        found += middles + ([-middle for middle in middles] if signed else [])
    return torch.tensor(sorted(found), dtype=torch.float32)


class Quantised:
    """A tensor of `size` numbers in blocks: codes_NK (uint8) and the largest size of each block, scales_N."""

    def __init__(self, size: int, signed: bool, device: torch.device) -> None:
        self.size = size
        values = dynamic_values(signed).to(device)
        self.values, self.middles = values, (values[1:] + values[:-1]) / 2
        self.cells = cells(self.middles.cpu().numpy())  # of the compiled form
        blocks = -(-size // BLOCK)
        self.codes = torch.zeros(blocks, BLOCK, dtype=torch.uint8, device=device)
        self.codes.fill_(int((values == 0).nonzero()))
        self.scales = torch.zeros(blocks, device=device)

    def read(self) -> Tensor:
        """The numbers, in blocks (N, 256); those behind the last one are 0."""
        return self.values[self.codes.int()].mul_(self.scales.unsqueeze(1))

    def write(self, x_NK: Tensor) -> None:
        """Takes the nearest codes."""
        torch.linalg.vector_norm(x_NK, torch.inf, dim=1, out=self.scales)
        share = x_NK / self.scales.clamp_min(LEAST).unsqueeze(1)
        self.codes.copy_(torch.bucketize(share, self.middles, out_int32=True))
