"""8 bits: whole numbers from -127 to 127, one scale in fp32 for each row of the matrix.

-128 is left out, so that a number can be negated within 8 bits, which the kernels do. The rounding errs by about 0.3 %
of a row's typical weight: beside it nothing finer than one scale a row is worth its bytes.
"""

import torch
from torch import Tensor

from nextword.quant.format import Format


def _same(codes: Tensor) -> Tensor:
    return codes.contiguous()


FORMAT = Format(8, -127, 127, torch.float32, grouped=False, block=32, pack=_same, unpack=_same)
