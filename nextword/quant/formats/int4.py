"""4 bits: whole numbers from -8 to 7, two in a byte, one scale in bf16 for each group of a row.

Of 64 neighbours the first 32 stand in the lower halves of 32 bytes and the others in the upper halves, so that one
vector of 32 bytes gives two of 32 weights in order by one mask and one shift. They are stored as q + 8, without a sign.
"""

import torch
from torch import Tensor

from nextword.quant.format import Format

HALF = 32
OFFSET = 8


def pack(q_NK: Tensor) -> Tensor:
    """(N, K) int8 -> (N, K/2) uint8."""
    low_NBC, high_NBC = (q_NK + OFFSET).view(torch.uint8).view(len(q_NK), -1, 2, HALF).unbind(2)
    return (low_NBC | (high_NBC << 4)).flatten(1)


def unpack(codes: Tensor) -> Tensor:
    """(N, K/2) uint8 -> (N, K) int8."""
    pairs_NBC = codes.view(len(codes), -1, HALF)
    both_NB2C = torch.stack((pairs_NBC & 15, pairs_NBC >> 4), 2)
    return both_NB2C.flatten(1).view(torch.int8).sub_(OFFSET)


FORMAT = Format(4, -8, 7, torch.bfloat16, grouped=True, block=2 * HALF, pack=pack, unpack=unpack)
