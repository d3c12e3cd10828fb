"""Attention of queries over the cached keys and values: softmax(q kᵀ · scale) v, for a few that share keys at once.

The cache of one layer is a pool of blocks of fp32 numbers (P, K, S, E); query n looks at the first `positions[n] + 1`
entries of its row `slots[n]`, whose blocks its line of a table lists (`nextword.nn.paged`; Kwon et al.,
"PagedAttention", 2023). A cache with one block a row is the case of one column. Plain PyTorch form:
`torch.nn.functional.scaled_dot_product_attention` with a mask.

Heads of a group have their keys and values in common, and so have neighbouring tokens of a text but for the last few.
Up to four heads of up to four such tokens are asked together, in tiles of `rows` and `tile`: each key and value is
loaded once for four queries. What a query gets is the same number, to the last bit, whichever are beside it.
"""

import math

import numba
import numpy as np

from nextword.nn.kernels.bits import ONLY_PRANGE, SINGLE, held, vector
from nextword.nn.kernels.exponential import exponential
from nextword.nn.kernels.lanes import LANES
from nextword.nn.kernels.rows import EXACT, TALL, four_fp32, make_single, single_fp32
from nextword.nn.kernels.tile import weighted_of

TOGETHER = 4  # heads, and tokens
SIZE = SINGLE.itemsize
beside_fp32 = make_single(1, 4)  # one query with four keys


@numba.njit(nogil=True, error_model="numpy", inline="never")
def softmax_in_place(scores_S):
    """exp(s - max) / sum: the largest is taken off first, so that nothing overflows."""
    largest = scores_S[0]
    for s in range(1, scores_S.shape[0]):
        largest = max(largest, scores_S[s])
    for s in range(scores_S.shape[0]):
        scores_S[s] = exponential(scores_S[s] - largest)
    total = total_of(scores_S)
    for s in range(scores_S.shape[0]):
        scores_S[s] /= total


@numba.njit(fastmath=True, nogil=True, error_model="numpy", inline="never")
def total_of(x_S):
    """The sum."""
    total = np.float32(0)
    for s in range(x_S.shape[0]):
        total += x_S[s]
    return total


@numba.njit(**EXACT, inline="never")
def scores_of(q, many, keys, count, width, y, step):
    """Products of `many` queries with `count` keys to y, the next query's `step` numbers further on; addresses."""
    row, n = width * SIZE, 0
    while n + 4 <= count:
        k, to, r = keys + n * row, y + n * SIZE, 0
        while r + TALL <= many:
            four_fp32(q + r * row, row, k, width, to + r * step * SIZE, step)
            r += TALL
        while r < many:
            beside_fp32(q + r * row, row, k, width, to + r * step * SIZE, step)
            r += 1
        n += 4
    while n < count:
        for r in range(many):
            single_fp32(q + r * row, row, keys + n * row, width, y + (r * step + n) * SIZE, step)
        n += 1


def make_gathering(high, wide):
    """To `wide` rows of outputs, `high` times 8 numbers of each, the values by the weights of each; addresses.

    row: bytes to the next value and to the next output; apart: to the weights of the next output.
    """
    taken, plus, back = weighted_of(high, wide)

    @numba.njit(**EXACT, inline="never")
    def gather(out, row, weights, apart, values, count):
        sums = taken(out, row)
        for s in range(count):
            sums = plus(sums, weights + s * SIZE, apart, values + s * row)
        back(sums, out, row)

    return gather


many_of_four, many_of_one = make_gathering(TALL, 4), make_gathering(TALL, 1)
last_of_four, last_of_one = make_gathering(1, 4), make_gathering(1, 1)


@numba.njit(**EXACT, inline="never")
def gather(out, many, weights, step, values, count, width):
    """Adds `count` values by their weights to `many` outputs; addresses. step: numbers to the next output's weights."""
    row, apart = width * SIZE, step * SIZE
    r = 0
    while r < many:
        four, e = r + 4 <= many, 0
        to, by = out + r * row, weights + r * apart
        while e + TALL * LANES <= width:
            if four:
                many_of_four(to + e * SIZE, row, by, apart, values + e * SIZE, count)
            else:
                many_of_one(to + e * SIZE, row, by, apart, values + e * SIZE, count)
            e += TALL * LANES
        while e + LANES <= width:
            if four:
                last_of_four(to + e * SIZE, row, by, apart, values + e * SIZE, count)
            else:
                last_of_one(to + e * SIZE, row, by, apart, values + e * SIZE, count)
            e += LANES
        ends = r + 4 if four else r + 1
        if e < width:
            gather_last(out, r, ends, weights, step, values, count, width, e)
        r = ends


@numba.njit(**EXACT, inline="never")
def gather_last(out, r, ends, weights, step, values, count, width, first):
    """The same for the last numbers of a value, fewer than eight, of outputs r ... ends - 1."""
    for one in range(r, ends):
        out_E, by_S = (
            vector(out + one * width * SIZE, width, SINGLE),
            vector(weights + one * step * SIZE, count, SINGLE),
        )
        for s in range(count):
            v_E = vector(values + s * width * SIZE, width, SINGLE)
            for e in range(first, width):
                out_E[e] += by_S[s] * v_E[e]


@numba.njit(**EXACT)
def runs_of(slots, positions):
    """Where runs of up to TOGETHER neighbouring tokens of one text begin, and where the last one ends."""
    count, runs = slots.shape[0], 0
    begins = np.empty(count + 1, np.int64)
    for n in range(count):
        follows = n > 0 and slots[n] == slots[n - 1] and positions[n] == positions[n - 1] + 1
        if not follows or n - begins[runs - 1] == TOGETHER:
            begins[runs] = n
            runs += 1
    begins[runs] = count
    return begins[: runs + 1]


@numba.njit(**EXACT, inline="never")
def attend_together(queries, places, keys, values, table_M, shape_PKSE, length):
    """Attention of a few queries that share keys; their outputs are written over them.

    queries: (Q, E), scaled. places: (Q,) how many keys each sees, `length` at most. keys, values: the addresses of
    those of the kv head in block 0.
    """
    many, width = queries.shape
    kv_heads, room = shape_PKSE[1], shape_PKSE[2]
    scores_QS = np.empty((many, length), np.float32)
    asked, scores, block = queries.ctypes.data, scores_QS.ctypes.data, kv_heads * room * width * SIZE
    for begin in range(0, length, room):
        first = keys + table_M[begin // room] * block
        scores_of(asked, many, first, min(room, length - begin), width, scores + begin * SIZE, length)
    for r in range(many):
        softmax_in_place(scores_QS[r, : places[r]])
        scores_QS[r, places[r] :] = 0
    queries[:] = 0
    for begin in range(0, length, room):
        first = values + table_M[begin // room] * block
        gather(asked, many, scores + begin * SIZE, length, first, min(room, length - begin), width)
    held((queries, scores_QS))


@numba.njit(parallel=ONLY_PRANGE, nogil=True, error_model="numpy")
def attend(q_NHE, keys, values, slots, positions, blocks_BM, shape_PKSE, scale):
    """(N, H, E): what each query gathers from the cache whose keys and values begin at those two addresses.

    blocks_BM: which blocks hold each row, one after the other. The heads are the outer loop: rows that share blocks
    find them in the processor's cache from the row before.
    """
    count, heads, width = q_NHE.shape
    kv_heads, room = shape_PKSE[1], shape_PKSE[2]
    out_NHE = np.empty((count, heads, width), np.float32)
    begins = runs_of(slots, positions)
    shared = heads // kv_heads
    quads = math.ceil(shared / TOGETHER)
    runs = begins.shape[0] - 1
    for item in numba.prange(kv_heads * quads * runs):
        k, quad, run = item // (quads * runs), item // runs % quads, item % runs
        first, last = begins[run], begins[run + 1]
        low, high = k * shared + quad * TOGETHER, k * shared + min((quad + 1) * TOGETHER, shared)
        many = high - low
        queries, places = (
            np.empty(((last - first) * many, width), np.float32),
            np.empty((last - first) * many, np.int64),
        )
        for n in range(first, last):
            for h in range(low, high):
                r = (n - first) * many + h - low
                places[r] = positions[n] + 1
                for e in range(width):
                    queries[r, e] = q_NHE[n, h, e] * scale
        far = k * room * width * SIZE
        table_M, length = blocks_BM[slots[first]], positions[last - 1] + 1
        attend_together(queries, places, keys + far, values + far, table_M, shape_PKSE, length)
        for n in range(first, last):
            for h in range(low, high):
                out_NHE[n, h] = queries[(n - first) * many + h - low]
    return out_NHE
