"""Numbers of a layer's input as whole numbers, so that they meet weights of 8 or 4 bits in whole-number products.

    x ≈ s · q      q in -127 ... 127, one s for 64 neighbours

Rounding errs by at most s/2, 0.4 % of the largest of its 64: a group that small keeps one large input, which
transformers are known for (Dettmers et al., "LLM.int8()", 2022), from coarsening the others (llama.cpp: 32).

The instructions multiply a number without a sign by one with: weights stand there as w + OFFSET, and sums come out
OFFSET · Σ q too large. With 8 bits that is taken off in whole numbers, lane by lane, since it is much larger than what
is left; with 4 bits it is not, and one number a group is taken off in the end.
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


@numba.njit(nogil=True, error_model="numpy")
def whole_numbers(x_ND, stored):
    """Rows as whole numbers (N, K) and scales (N, G); K is `stored` and then some zeros up to a whole group."""
    count, width = x_ND.shape
    groups = (stored + GROUP - 1) // GROUP
    q_NK = np.zeros((count, groups * GROUP), np.int8)
    scales_NG = np.empty((count, groups), np.float32)
    for n in range(count):
        for g in range(groups):
            first, last = g * GROUP, min(g * GROUP + GROUP, width)
            scales_NG[n, g] = round_group(x_ND[n, first:last], q_NK[n, first:last])
    return q_NK, scales_NG


@numba.njit(nogil=True, error_model="numpy", inline="never")
def lane_corrections(q_NK):
    """What the sums of each group of 8-bit products start with, (N, G, 8): -OFFSET times the numbers of a lane."""
    count, groups = q_NK.shape[0], q_NK.shape[1] // GROUP
    corrections_NGL = np.zeros((count, groups, LANES), np.int32)
    if OFFSET_INT8:
        for n in range(count):
            for k in range(q_NK.shape[1]):
                corrections_NGL[n, k // GROUP, k % BYTES_AT_ONCE // FOURS] -= OFFSET_INT8 * np.int32(q_NK[n, k])
    return corrections_NGL


@numba.njit(nogil=True, error_model="numpy", inline="never")
def group_corrections(q_NK, scales_NG, group):
    """Of each group of 4-bit products what is added, and what it is multiplied with: (N, groups) both.

    That is -s · OFFSET times the sum of its numbers, and s; both before the weights' scale. Behind each row stand LANES
    zeros, since they are read by so many.
    """
    count, groups = q_NK.shape[0], q_NK.shape[1] // group
    corrections_NG = np.zeros((count, groups + LANES), np.float32)
    repeated_NG = np.zeros((count, groups + LANES), np.float32)
    for n in range(count):
        for g in range(groups):
            sum_ = np.int32(0)
            for k in range(g * group, (g + 1) * group):
                sum_ += np.int32(q_NK[n, k])
            scale = scales_NG[n, g * group // GROUP]
            corrections_NG[n, g], repeated_NG[n, g] = -OFFSET_INT4 * sum_ * scale, scale
    return corrections_NG, repeated_NG
