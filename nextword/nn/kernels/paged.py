"""Attention of single queries over a cache in blocks, for tensors: the kernel of `attention` from outside a whole step.

Plain PyTorch form: `nextword.nn.paged`, which lays the blocks side by side.
"""

import numpy as np
import torch
from torch import Tensor

from nextword.nn.kernels import attention, disk, threads
from nextword.nn.kernels.bits import address


def attend(q_NHE: Tensor, k_PKSE: Tensor, v_PKSE: Tensor, tables_NM: Tensor, lengths_N: Tensor, scale: float) -> Tensor:
    """(N, H, E), fp32 on the CPU: query n sees the whole of its text, in the blocks of its line of the tables."""
    disk.remember(attention.attend)
    threads.follow_torch()
    found_NHE = attention.attend(
        q_NHE.contiguous().numpy(),
        address(k_PKSE),
        address(v_PKSE),
        np.arange(len(q_NHE)),
        lengths_N.numpy() - 1,
        tables_NM.numpy(),
        tuple(k_PKSE.shape),
        np.float32(scale),
    )
    return torch.from_numpy(found_NHE)
