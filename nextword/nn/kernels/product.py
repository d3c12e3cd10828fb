"""y = x Wᵀ for a few rows of x, at the speed at which memory delivers W.

Decoding one token reads every weight once and does two operations with it: the time is the bytes over the memory's
bandwidth. So each thread streams whole rows of W, widened in registers (`bits.widen`); four rows of x share one pass.
Plain PyTorch form: `torch.nn.functional.linear`.
"""

import numba
import numpy as np

from nextword.nn.kernels.bits import ONLY_PRANGE, vector, widen

SHARED = 4  # rows of x that use one loaded row of W together: their sums stay in registers


@numba.njit(fastmath=True, nogil=True, error_model="numpy", inline="never")
def dot(w_D, x_D):
    """w · x with w bf16 bits or float32."""
    total = np.float32(0)
    for d in range(x_D.shape[0]):
        total += widen(w_D[d]) * x_D[d]
    return total


@numba.njit(fastmath=True, nogil=True, error_model="numpy", inline="never")
def dot_shared(w_D, x_ND, start, y_N):
    """Four dot products of w with x_ND[start : start + 4], written to y_N[start : start + 4]."""
    a, b, c, d = np.float32(0), np.float32(0), np.float32(0), np.float32(0)
    for k in range(x_ND.shape[1]):
        w = widen(w_D[k])
        a += w * x_ND[start, k]
        b += w * x_ND[start + 1, k]
        c += w * x_ND[start + 2, k]
        d += w * x_ND[start + 3, k]
    y_N[start] = a
    y_N[start + 1] = b
    y_N[start + 2] = c
    y_N[start + 3] = d


@numba.njit(nogil=True, error_model="numpy", inline="never")
def row_place(places, rows, row, row_bytes):
    """Where row number `row` of the matrices at `places`, counted through all of them, begins."""
    matrix = 0
    while row >= rows[matrix]:
        row -= rows[matrix]
        matrix += 1
    return places[matrix] + row * row_bytes


@numba.njit(parallel=ONLY_PRANGE, fastmath=True, nogil=True, error_model="numpy")
def product(places, rows, x_ND, kind):
    """The products of x_ND with the matrices (rows[i], D) at places[i], one below the other: (sum of rows, N).

    Several matrices in one call (queries, keys and values; gate and up) cost one start of the threads.
    """
    count, width = x_ND.shape
    total = 0
    for i in range(rows.shape[0]):
        total += rows[i]
    y_RN = np.empty((total, count), np.float32)
    whole = count - count % SHARED
    for r in numba.prange(total):
        w_D = vector(row_place(places, rows, r, width * kind.itemsize), width, kind)
        for start in range(0, whole, SHARED):
            dot_shared(w_D, x_ND, start, y_RN[r])
        for n in range(whole, count):
            y_RN[r, n] = dot(w_D, x_ND[n])
    return y_RN
