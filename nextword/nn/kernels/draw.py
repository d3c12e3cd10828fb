"""Tokens drawn from scores: the first at which the running sum of e^score exceeds u times the whole (inversion).

What `decode/scores.drawn` does after a softmax, in two passes: sums of blocks of e^(score - largest), running in
float64, then the one block in which it happens. A row of 32,000 scores takes half the time of the dozen operations that
PyTorch needs. Plain PyTorch form: `nextword.decode.scores.draw`.
"""

import numba
import numpy as np
from torch import Tensor

from nextword.nn.kernels import disk, threads
from nextword.nn.kernels.attention import total_of
from nextword.nn.kernels.bits import ONLY_PRANGE
from nextword.nn.kernels.exponential import exponential
from nextword.nn.kernels.rows import EXACT

BLOCK = 256  # scores that are added up at once


@numba.njit(**EXACT, inline="never")
def weights_of(scores_K, largest, out_K):
    """e^(score - largest), float32."""
    for k in range(scores_K.shape[0]):
        out_K[k] = exponential(scores_K[k] - largest)


@numba.njit(nogil=True, error_model="numpy", fastmath=True, inline="never")
def largest_of(scores_V):
    """The largest score."""
    largest = scores_V[0]
    for v in range(scores_V.shape[0]):
        largest = max(largest, scores_V[v])
    return largest


@numba.njit(**EXACT, inline="never")
def draw_one(scores_V, u):
    """The token of one row."""
    size, largest = scores_V.shape[0], largest_of(scores_V)
    sums_B, weights_K, total = np.empty((size + BLOCK - 1) // BLOCK, np.float64), np.empty(BLOCK, np.float32), 0.0
    for b in range(sums_B.shape[0]):
        ends = min(b * BLOCK + BLOCK, size)
        weights_of(scores_V[b * BLOCK : ends], largest, weights_K)
        total += total_of(weights_K[: ends - b * BLOCK])
        sums_B[b] = total
    block = 0
    while block < sums_B.shape[0] - 1 and sums_B[block] <= u * total:
        block += 1
    while block > 0 and sums_B[block] == sums_B[block - 1]:  # u · total may round to the total: not behind the last
        block -= 1
    running = sums_B[block - 1] if block else 0.0
    ends, last = min(block * BLOCK + BLOCK, size), block * BLOCK
    weights_of(scores_V[block * BLOCK : ends], largest, weights_K)
    for v in range(block * BLOCK, ends):
        weight = weights_K[v - block * BLOCK]
        running += weight
        if weight > 0:
            last = v
        if running > u * total:
            break
    return last


@numba.njit(parallel=ONLY_PRANGE, nogil=True, error_model="numpy")
def draw_rows(scores_NV, u_N):
    """The tokens of all rows, (N)."""
    tokens_N = np.empty(scores_NV.shape[0], np.int64)
    for n in numba.prange(scores_NV.shape[0]):
        tokens_N[n] = draw_one(scores_NV[n], u_N[n])
    return tokens_N


def draw(scores_NV: Tensor, u_N: Tensor) -> list[int]:
    """A token for each row of scores (float32, on the CPU) by its number u in [0, 1)."""
    disk.remember(draw_rows)
    threads.follow_torch()
    return draw_rows(scores_NV.contiguous().numpy(), u_N.numpy()).tolist()  # type: ignore[no-any-return]
