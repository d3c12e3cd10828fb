"""AdamW with both means in 8 bits, one block of 256 numbers at a time (see `train/quantised.py` for the codes).

A block is read, changed and written back while it is in the cache, by one thread. The nearest code is found without a
search: the sign, the exponent and the first 7 bits of a number's fraction (the upper half of its fp32) name a cell so
narrow that at most one boundary between two codes runs through it; a table holds the code at the cell's lower end, and
one comparison decides. Plain PyTorch form: `Quantised.read`, AdamW, `Quantised.write`.
"""

import numba
import numpy as np

from nextword.nn.kernels.bits import ONLY_PRANGE

CELLS = 1 << 16


def cells(middles: np.ndarray) -> np.ndarray:
    """For the upper half of an fp32 number (as uint16): the code of the smallest number that begins with it.

    middles: the 255 boundaries between codes, rising, fp32.
    """
    bits = np.arange(CELLS, dtype=np.uint32) << 16
    lowest = np.where(bits >> 31, bits | 0xFFFF, bits).astype(np.uint32).view(np.float32)  # negative: away from 0
    return np.searchsorted(middles, np.nan_to_num(lowest, nan=0.0)).astype(np.uint8)


@numba.njit(nogil=True, error_model="numpy", inline="never")
def write(numbers_K, scale, codes_K, cells, middles):
    """The nearest codes of numbers that are at most `scale` in size."""
    share_K = np.empty(numbers_K.shape[0], np.float32)
    for k in range(numbers_K.shape[0]):
        share_K[k] = numbers_K[k] / scale
    upper_K = share_K.view(np.uint32)
    for k in range(numbers_K.shape[0]):
        code = cells[upper_K[k] >> np.uint32(16)]
        if code < middles.shape[0] and share_K[k] > middles[code]:
            code += np.uint8(1)
        codes_K[k] = code


@numba.njit(parallel=ONLY_PRANGE, nogil=True, error_model="numpy")
def update(weights, gradients, codes, scales, values, middles, cells, numbers):
    """AdamW's update of flat weights in place.

    codes: (2, N, 256) of m and v; scales: (2, N); values, middles, cells: tables of m's and of v's codes.
    numbers: beta1, beta2, rate / (1 - beta1^t), 1 / sqrt(1 - beta2^t), epsilon, 1 - rate * decay; fp32.
    """
    b1, b2, rate, grow, eps, keep = numbers
    size, block = weights.shape[0], codes[0].shape[1]
    for n in numba.prange(codes[0].shape[0]):
        start = n * block
        count = min(block, size - start)
        m, v = np.empty(count, np.float32), np.empty(count, np.float32)
        m_scale, v_scale = scales[0][n], scales[1][n]
        for k in range(count):
            m[k] = values[0][codes[0][n, k]] * m_scale
            v[k] = values[1][codes[1][n, k]] * v_scale
        m_scale, v_scale = np.float32(1e-38), np.float32(1e-38)
        for k in range(count):
            g = gradients[start + k]
            m[k] += (g - m[k]) * (np.float32(1) - b1)
            v[k] += (g * g - v[k]) * (np.float32(1) - b2)
            weights[start + k] = weights[start + k] * keep - rate * m[k] / (np.sqrt(v[k]) * grow + eps)
            m_scale, v_scale = max(m_scale, abs(m[k])), max(v_scale, v[k])
        scales[0][n], scales[1][n] = m_scale, v_scale
        write(m, m_scale, codes[0][n, :count], cells[0], middles[0])
        write(v, v_scale, codes[1][n, :count], cells[1], middles[1])
