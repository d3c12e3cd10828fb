"""Attention of single queries over the cached keys and values: softmax(q kᵀ · scale) v, one (row, head) at a time.

The cache of one layer is a pool of blocks of fp32 numbers (P, K, S, E); query n looks at the first `positions[n] + 1`
entries of its row `slots[n]`, whose blocks its line of a table lists (`nextword.nn.paged`; Kwon et al.,
"PagedAttention", 2023). A cache with one block a row is the case of one column. Plain PyTorch form:
`torch.nn.functional.scaled_dot_product_attention` with a mask.
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
def attend(q_NHE, keys, values, slots, positions, blocks_BM, shape_PKSE, scale):
    """(N, H, E): what each query gathers from the cache whose keys and values begin at those two addresses.

    blocks_BM: which blocks hold each row, one after the other. The heads are the outer loop: rows that share blocks
    find them in the processor's cache from the row before.
    """
    count, heads, head_width = q_NHE.shape
    kv_heads, room = shape_PKSE[1], shape_PKSE[2]
    out_NHE = np.empty((count, heads, head_width), np.float32)
    asked, taken, size = q_NHE.ctypes.data, out_NHE.ctypes.data, head_width * SINGLE.itemsize
    for item in numba.prange(count * heads):
        h, n = item // count, item % count
        length, k, place = positions[n] + 1, h * kv_heads // heads, (n * heads + h) * size
        q_E, out_E = vector(asked + place, head_width, SINGLE), vector(taken + place, head_width, SINGLE)
        scores_S = np.empty(length, np.float32)
        for begin in range(0, length, room):
            first = keys + (blocks_BM[slots[n], begin // room] * kv_heads + k) * room * size
            for s in range(min(room, length - begin)):
                scores_S[begin + s] = dot(vector(first + s * size, head_width, SINGLE), q_E) * scale
        softmax_in_place(scores_S)
        for e in range(head_width):
            out_E[e] = 0
        for begin in range(0, length, room):
            first = values + (blocks_BM[slots[n], begin // room] * kv_heads + k) * room * size
            for s in range(min(room, length - begin)):
                add_weighted(out_E, scores_S[begin + s], vector(first + s * size, head_width, SINGLE))
    held(q_NHE)  # until here: the loop has its address alone
    return out_NHE
