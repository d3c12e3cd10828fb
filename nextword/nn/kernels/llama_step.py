"""One whole decoding step of a Llama-shaped decoder as a single compiled call.

A step of a small model spends more time between operations than in them; here nothing lies between. In each layer

    x ← x + W_o attention(RoPE(W_q n), RoPE(W_k n), W_v n)     n = RMSNorm(x)
    x ← x + W_down (SiLU(W_gate m) ⊙ W_up m)                   m = RMSNorm(x)

and at the end the head on RMSNorm(x) (Touvron et al., "LLaMA", 2023). It reads N tokens at once, each with its row
and its position in the cache: N sequences one token further, or N tokens of one prompt, or both. Weights stay where
PyTorch keeps them: the kernel gets a table of addresses. Sums are fp32. Plain PyTorch form:
`nextword.models.transformer`.
"""

import math

import numba
import numpy as np

from nextword.nn.kernels.attention import attend
from nextword.nn.kernels.bits import SINGLE, vector, widen
from nextword.nn.kernels.product import product

# The columns of the table of addresses, one line a layer; keys and values are the cache's blocks (B, K, S, E).
COLUMNS = ("attention_norm", "query", "key", "value", "output", "ffn_norm", "gate", "up", "down", "keys", "values")
# The line after the last layer's: where the model begins and ends.
ENDS = ("embedding", "norm", "head")


@numba.njit(fastmath=True, nogil=True, error_model="numpy")
def rms_norm(x_ND, place, eps, kind):
    """x / √(mean(x²) + ε) · g, with ε inside the root."""
    count, width = x_ND.shape
    gain_D = vector(place, width, kind)
    out_ND = np.empty_like(x_ND)
    for n in range(count):
        squares = np.float32(0)
        for d in range(width):
            squares += x_ND[n, d] * x_ND[n, d]
        scale = np.float32(1 / math.sqrt(squares / width + eps))
        for d in range(width):
            out_ND[n, d] = x_ND[n, d] * scale * widen(gain_D[d])
    return out_ND


@numba.njit(fastmath=True, nogil=True, error_model="numpy")
def turned_heads(y_RN, first, heads, positions, cos_SE, sin_SE):
    """Rows first ... of a product as (N, heads, E), turned by RoPE: pair (e, e + E/2) by the angle of the position."""
    half = cos_SE.shape[1]
    out_NHE = np.empty((y_RN.shape[1], heads, 2 * half), np.float32)
    for n in range(out_NHE.shape[0]):
        for h in range(heads):
            base = first + h * 2 * half
            for e in range(half):
                a, b = y_RN[base + e, n], y_RN[base + half + e, n]
                cos, sin = cos_SE[positions[n], e], sin_SE[positions[n], e]
                out_NHE[n, h, e] = a * cos - b * sin
                out_NHE[n, h, half + e] = b * cos + a * sin
    return out_NHE


@numba.njit(fastmath=True, nogil=True, error_model="numpy")
def heads_of(y_RN, first, heads, head_width):
    """Rows first ... of a product as (N, heads, E)."""
    out_NHE = np.empty((y_RN.shape[1], heads, head_width), np.float32)
    for n in range(out_NHE.shape[0]):
        for h in range(heads):
            for e in range(head_width):
                out_NHE[n, h, e] = y_RN[first + h * head_width + e, n]
    return out_NHE


@numba.njit(fastmath=True, nogil=True, error_model="numpy")
def store(y_NKE, place, slots, positions, shape_BKSE):
    """Writes each token's keys (or values) into its place in the cache."""
    _, kv_heads, room, head_width = shape_BKSE
    for n in range(y_NKE.shape[0]):
        for k in range(kv_heads):
            first = ((slots[n] * kv_heads + k) * room + positions[n]) * head_width
            cell_E = vector(place + first * SINGLE.itemsize, head_width, SINGLE)
            for e in range(head_width):
                cell_E[e] = y_NKE[n, k, e]


@numba.njit(fastmath=True, nogil=True, error_model="numpy")
def gated(y_RN, ffn_width):
    """SiLU(gate) ⊙ up as (N, F), from the product of both matrices."""
    out_NF = np.empty((y_RN.shape[1], ffn_width), np.float32)
    for n in range(out_NF.shape[0]):
        for f in range(ffn_width):
            gate = y_RN[f, n]
            out_NF[n, f] = gate / (np.float32(1) + math.exp(-gate)) * y_RN[ffn_width + f, n]
    return out_NF


@numba.njit(fastmath=True, nogil=True, error_model="numpy")
def add_columns(x_ND, y_DN):
    """x += yᵀ."""
    for n in range(x_ND.shape[0]):
        for d in range(x_ND.shape[1]):
            x_ND[n, d] += y_DN[d, n]


@numba.njit(nogil=True, error_model="numpy")
def decode(table, ends, sizes, shape_BKSE, eps, waves, tokens, wanted, kind):
    """Logits (V, W) of the tokens at the indices `wanted`; keys and values of all N tokens go into the cache.

    table, ends: addresses in the order of COLUMNS and ENDS. sizes: width, query heads, ffn width, vocabulary.
    shape_BKSE: of the cache. waves: cosines and sines (S, E/2), fp32. tokens: ids, rows and positions, (3, N).
    kind: what the weights are stored as; the cache is fp32.
    """
    cos_SE, sin_SE = waves
    ids, slots, positions = tokens[0], tokens[1], tokens[2]
    width, heads, ffn_width, vocabulary = sizes
    _, kv_heads, _, head_width = shape_BKSE
    count = ids.shape[0]
    q_rows, kv_rows = heads * head_width, kv_heads * head_width
    x_ND = np.empty((count, width), np.float32)
    for n in range(count):
        token_D = vector(ends[0] + ids[n] * width * kind.itemsize, width, kind)
        for d in range(width):
            x_ND[n, d] = widen(token_D[d])
    for layer in range(table.shape[0]):
        places = table[layer]
        normed_ND = rms_norm(x_ND, places[0], eps, kind)
        y_RN = product(places[1:4], np.array([q_rows, kv_rows, kv_rows]), normed_ND, kind)
        q_NHE = turned_heads(y_RN, 0, heads, positions, cos_SE, sin_SE)
        k_NKE = turned_heads(y_RN, q_rows, kv_heads, positions, cos_SE, sin_SE)
        store(k_NKE, places[9], slots, positions, shape_BKSE)
        v_NKE = heads_of(y_RN, q_rows + kv_rows, kv_heads, head_width)
        store(v_NKE, places[10], slots, positions, shape_BKSE)
        mixed_NHE = attend(q_NHE, places[9], places[10], slots, positions, shape_BKSE)
        add_columns(x_ND, product(places[4:5], np.array([width]), mixed_NHE.reshape((count, q_rows)), kind))
        normed_ND = rms_norm(x_ND, places[5], eps, kind)
        inner_NF = gated(product(places[6:8], np.array([ffn_width, ffn_width]), normed_ND, kind), ffn_width)
        add_columns(x_ND, product(places[8:9], np.array([width]), inner_NF, kind))
    last_WD = np.empty((wanted.shape[0], width), np.float32)
    for row in range(wanted.shape[0]):
        for d in range(width):
            last_WD[row, d] = x_ND[wanted[row], d]
    return product(ends[2:3], np.array([vocabulary]), rms_norm(last_WD, ends[1], eps, kind), kind)
