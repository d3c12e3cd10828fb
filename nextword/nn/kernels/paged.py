"""Attention of single queries over a cache in blocks: softmax(q kᵀ · scale) v, one (head, text) at a time.

Each query sees the whole of its own text, whose keys and values lie in the blocks of its table. The heads are the outer
loop: texts that share their beginning share its blocks, which then are in the processor's cache from the text before.
Plain PyTorch form: `nextword.nn.paged`, which lays the blocks side by side.
"""

import numba
import numpy as np
import torch
from torch import Tensor

from nextword.nn.kernels import disk
from nextword.nn.kernels.attention import add_weighted, softmax_in_place
from nextword.nn.kernels.bits import ONLY_PRANGE
from nextword.nn.kernels.rows import dot


@numba.njit(parallel=ONLY_PRANGE, fastmath=True, nogil=True, error_model="numpy")
def attend_blocks(q_NHE, k_PKSE, v_PKSE, tables_NM, lengths_N, scale):
    """(N, H, E): what each query gathers from the blocks of its text."""
    count, heads, head_width = q_NHE.shape
    kv_heads, size = k_PKSE.shape[1], k_PKSE.shape[2]
    out_NHE = np.empty((count, heads, head_width), np.float32)
    for item in numba.prange(heads * count):
        h, n = item // count, item % count
        k = h * kv_heads // heads
        q_E = q_NHE[n, h]
        length = lengths_N[n]
        scores_S = np.empty(length, np.float32)
        for s in range(length):
            scores_S[s] = dot(k_PKSE[tables_NM[n, s // size], k, s % size], q_E) * scale
        softmax_in_place(scores_S)
        out_E = out_NHE[n, h]
        for e in range(head_width):
            out_E[e] = 0
        for s in range(length):
            add_weighted(out_E, scores_S[s], v_PKSE[tables_NM[n, s // size], k, s % size])
    return out_NHE


def attend(q_NHE: Tensor, k_PKSE: Tensor, v_PKSE: Tensor, tables_NM: Tensor, lengths_N: Tensor, scale: float) -> Tensor:
    """The kernel over tensors (fp32, on the CPU)."""
    disk.remember(attend_blocks)
    numba.set_num_threads(min(torch.get_num_threads(), numba.config.NUMBA_NUM_THREADS))
    arrays = (tensor.numpy() for tensor in (q_NHE.contiguous(), k_PKSE, v_PKSE, tables_NM, lengths_N))
    return torch.from_numpy(attend_blocks(*arrays, np.float32(scale)))
