"""Numbers of a layer's input as whole numbers, so that they meet weights of 8 or 4 bits in whole-number products.

    x ≈ s · q      q in -127 ... 127, one s for 64 neighbours

Rounding errs by at most s/2, 0.4 % of the largest of its 64: a group that small keeps one large input, which
transformers are known for (Dettmers et al., "LLM.int8()", 2022), from coarsening the others (llama.cpp: 32).

The instructions multiply a number without a sign by one with: weights stand there as w + OFFSET, and the sums are then
OFFSET · Σ q too large. `corrections` hold what takes that off, for the four numbers that each lane sums.
"""

import math

import numba
import numpy as np

from nextword.nn.kernels.lanes import BYTES_AT_ONCE, LANES, vnni

HIGHEST = np.float32(127)
OFFSET_INT4 = 8  # with which nibbles are stored
OFFSET_INT8 = 128 if vnni() else 0
GROUP = 2 * BYTES_AT_ONCE  # numbers that share a scale
FOURS = BYTES_AT_ONCE // LANES


@numba.njit(fastmath=True, nogil=True, error_model="numpy", inline="never")
def round_group(x_G, q_G):
    """Rounds one group; gives its scale."""
    largest = np.float32(0)
    for k in range(x_G.shape[0]):
        largest = max(largest, abs(x_G[k]))
    inverse = HIGHEST / largest if largest > 0 else np.float32(0)
    for k in range(x_G.shape[0]):
        q_G[k] = np.int8(math.floor(x_G[k] * inverse + np.float32(0.5)))
    return largest / HIGHEST


@numba.njit(nogil=True, error_model="numpy", inline="never")
def correct(q_G, corrections_L, offset):
    """The corrections for numbers whose products are summed together."""
    for lane in range(LANES):
        sum_ = np.int32(0)
        for k in range(FOURS * lane, q_G.shape[0], BYTES_AT_ONCE):
            for one in range(FOURS):
                sum_ += np.int32(q_G[k + one])
        corrections_L[lane] = -offset * sum_


@numba.njit(nogil=True, error_model="numpy")
def whole_numbers(x_ND, stored, offset, together):
    """Rows as whole numbers (N, K), corrections for every `together` of them (N, C, 8), scales (N, G).

    K is `stored`, a multiple of 32, and then some zeros up to a whole group.
    """
    count, width = x_ND.shape
    groups = (stored + GROUP - 1) // GROUP
    q_NK = np.zeros((count, groups * GROUP), np.int8)
    corrections_NCL = np.empty((count, groups * GROUP // together, LANES), np.int32)
    scales_NG = np.empty((count, groups), np.float32)
    for n in range(count):
        for g in range(groups):
            first, last = g * GROUP, min(g * GROUP + GROUP, width)
            scales_NG[n, g] = round_group(x_ND[n, first:last], q_NK[n, first:last])
        for c in range(corrections_NCL.shape[1]):
            correct(q_NK[n, c * together : (c + 1) * together], corrections_NCL[n, c], offset)
    return q_NK, corrections_NCL, scales_NG
