"""Attention of single queries over the cached keys and values: softmax(q kᵀ · scale) v, one (row, head) at a time.

The cache of one layer is one block of fp32 numbers (B, K, S, E); query n looks at the first `positions[n] + 1`
entries of its row `slots[n]`. Plain PyTorch form: `torch.nn.functional.scaled_dot_product_attention` with a mask.
"""

import math

import numba
import numpy as np

from nextword.nn.kernels.bits import ONLY_PRANGE, SINGLE, held, vector
from nextword.nn.kernels.rows import dot


@numba.njit(fastmath=True, nogil=True, error_model="numpy", inline="never")
def softmax_in_place(scores_S):
    """exp(s - max) / sum: the largest is taken off first, so that nothing overflows."""
    largest = scores_S[0]
    for s in range(1, scores_S.shape[0]):
        largest = max(largest, scores_S[s])
    total = np.float32(0)
    for s in range(scores_S.shape[0]):
        scores_S[s] = math.exp(scores_S[s] - largest)
        total += scores_S[s]
    for s in range(scores_S.shape[0]):
        scores_S[s] /= total


@numba.njit(fastmath=True, nogil=True, error_model="numpy", inline="never")
def add_weighted(out_E, weight, v_E):
    """out += weight · v."""
    for e in range(out_E.shape[0]):
        out_E[e] += weight * v_E[e]


@numba.njit(parallel=ONLY_PRANGE, fastmath=True, nogil=True, error_model="numpy")
def attend(q_NHE, keys, values, slots, positions, shape_BKSE, scale):
    """(N, H, E): what each query gathers from the cache whose keys and values begin at those two addresses."""
    count, heads, head_width = q_NHE.shape
    kv_heads, room = shape_BKSE[1], shape_BKSE[2]
    out_NHE = np.empty((count, heads, head_width), np.float32)
    asked, taken, size = q_NHE.ctypes.data, out_NHE.ctypes.data, head_width * SINGLE.itemsize
    for item in numba.prange(count * heads):
        n, h = item // heads, item % heads
        length = positions[n] + 1
        first = (slots[n] * kv_heads + h * kv_heads // heads) * room * size
        q_E, out_E = vector(asked + item * size, head_width, SINGLE), vector(taken + item * size, head_width, SINGLE)
        scores_S = np.empty(length, np.float32)
        for s in range(length):
            scores_S[s] = dot(vector(keys + first + s * size, head_width, SINGLE), q_E) * scale
        softmax_in_place(scores_S)
        for e in range(head_width):
            out_E[e] = 0
        for s in range(length):
            add_weighted(out_E, scores_S[s], vector(values + first + s * size, head_width, SINGLE))
    held(q_NHE)  # until here: the loop has its address alone
    return out_NHE
