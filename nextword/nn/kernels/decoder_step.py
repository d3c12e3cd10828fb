"""One whole decoding step of a decoder as a single compiled call.

A step of a small model spends more time between operations than in them; here nothing lies between. In each layer

    x ← x + W_o attention(turn(W_q n), turn(W_k n), W_v n)     n = norm(x)
    x ← x + W_down (f(W_gate m) ⊙ W_up m)                      m = norm'(x)       without a gate: W_down f(W_up m)

and at the end the head on norm(x). With RMSNorm, rotary positions and a gate this is Llama (Touvron et al., 2023) and
its descendants; with LayerNorm, biases, learned positions and no gate it is GPT-2 (Radford et al., 2019). Which parts
there are is told by the addresses (0: none) and a few flags, each looked at once a layer.

It reads N tokens at once, each with its row and its position in the cache: N sequences one token further, or N tokens
of one prompt, or both. Matrices stay where PyTorch keeps them: the kernel gets tables of addresses. Sums are fp32.
Plain PyTorch form: `nextword.models.transformer`.
"""

import math

import numba
import numpy as np
from numba.core.extending import overload

from nextword.nn.kernels.attention import attend
from nextword.nn.kernels.bits import SINGLE, vector, widen
from nextword.nn.kernels.exponential import exponential
from nextword.nn.kernels.product import INT8, padded, product, row_bytes
from nextword.nn.kernels.rows import EXACT, FAST

# The tables of addresses. Of each layer: norms with gain and bias, matrices with numbers, scales and bias.
NORMS = ("attention_norm", "query_norm", "key_norm", "feedforward_norm")
MATRICES = ("query", "key", "value", "output", "gate", "up", "down")
# What stands around the layers, a line each: numbers, scales, bias; of the norm gain and bias; positions' numbers.
EDGES = ("embedding", "head", "norm", "positions")
ACTIVATIONS = ("silu", "gelu", "gelu_tanh", "relu", "relu2", "quick_gelu")  # by their number
QUICK = np.float32(1.702)
TANH, CUBE = np.float32(math.sqrt(2 / math.pi)), np.float32(0.044715)  # of GELU's approximation
ROOT_HALF = np.float32(math.sqrt(0.5))


@numba.njit(**FAST)
def normed(x_ND, places, eps, centred):
    """RMSNorm, or LayerNorm where `centred`, with gain and bias at those addresses (0: none); fp32."""
    count, width = x_ND.shape
    out_ND = np.empty_like(x_ND)
    for n in range(count):
        mean = np.float32(0)
        if centred:
            for d in range(width):
                mean += x_ND[n, d]
            mean /= np.float32(width)
        squares = np.float32(0)
        for d in range(width):
            squares += (x_ND[n, d] - mean) * (x_ND[n, d] - mean)
        scale = np.float32(1 / math.sqrt(squares / width + eps))
        for d in range(width):
            out_ND[n, d] = (x_ND[n, d] - mean) * scale
        if places[0]:
            gain_D = vector(places[0], width, SINGLE)
            for d in range(width):
                out_ND[n, d] *= gain_D[d]
        if places[1]:
            bias_D = vector(places[1], width, SINGLE)
            for d in range(width):
                out_ND[n, d] += bias_D[d]
    return out_ND


@numba.njit(**FAST)
def heads_of(y_RN, first, heads, head_width):
    """Rows first ... of a product as (N, heads, E)."""
    out_NHE = np.empty((y_RN.shape[1], heads, head_width), np.float32)
    for n in range(out_NHE.shape[0]):
        for h in range(heads):
            for e in range(head_width):
                out_NHE[n, h, e] = y_RN[first + h * head_width + e, n]
    return out_NHE


@numba.njit(**FAST)
def turn(x_NHE, positions, waves):
    """RoPE in place: pair (e, e + half) of the first 2 · half coordinates by the angle of the position."""
    cos_SE, sin_SE = waves
    half = cos_SE.shape[1]
    for n in range(x_NHE.shape[0]):
        for h in range(x_NHE.shape[1]):
            for e in range(half):
                a, b = x_NHE[n, h, e], x_NHE[n, h, half + e]
                cos, sin = cos_SE[positions[n], e], sin_SE[positions[n], e]
                x_NHE[n, h, e] = a * cos - b * sin
                x_NHE[n, h, half + e] = b * cos + a * sin


@numba.njit(**FAST)
def heads_normed(x_NHE, places, eps, centred):
    """Each head of queries or keys normed by itself, where there is such a norm."""
    if not places[0]:
        return x_NHE
    count, heads, head_width = x_NHE.shape
    return normed(x_NHE.reshape((count * heads, head_width)), places, eps, centred).reshape(x_NHE.shape)


@numba.njit(**FAST)
def store(y_NKE, place, slots, positions, blocks_BM, shape_PKSE):
    """Writes each token's keys (or values) into its place in the cache."""
    _, kv_heads, room, head_width = shape_PKSE
    for n in range(y_NKE.shape[0]):
        block = blocks_BM[slots[n], positions[n] // room]
        for k in range(kv_heads):
            first = ((block * kv_heads + k) * room + positions[n] % room) * head_width
            cell_E = vector(place + first * SINGLE.itemsize, head_width, SINGLE)
            for e in range(head_width):
                cell_E[e] = y_NKE[n, k, e]


@numba.njit(**EXACT)
def activate(x_F, number):
    """The activation of that number in ACTIVATIONS, in place."""
    if number == 0:
        for f in range(x_F.shape[0]):
            x_F[f] = x_F[f] / (np.float32(1) + exponential(-x_F[f]))
    elif number == 1:
        for f in range(x_F.shape[0]):
            x_F[f] = np.float32(0.5) * x_F[f] * (np.float32(1) + math.erf(x_F[f] * ROOT_HALF))
    elif number == 2:
        for f in range(x_F.shape[0]):
            inner = TANH * (x_F[f] + CUBE * x_F[f] * x_F[f] * x_F[f])
            x_F[f] = x_F[f] / (np.float32(1) + exponential(np.float32(-2) * inner))  # (1 + tanh z) / 2 = σ(2z)
    elif number == 5:
        for f in range(x_F.shape[0]):
            x_F[f] = x_F[f] / (np.float32(1) + exponential(-QUICK * x_F[f]))
    else:
        for f in range(x_F.shape[0]):
            x_F[f] = max(x_F[f], np.float32(0))
            if number == 4:
                x_F[f] *= x_F[f]


@numba.njit(**FAST)
def middle(y_RN, ffn_width, gated, activation):
    """The middle of the feed-forward, (N, F): f(gate) ⊙ up from the product of both, or f(up)."""
    out_NF = np.empty((y_RN.shape[1], ffn_width), np.float32)
    for n in range(out_NF.shape[0]):
        for f in range(ffn_width):
            out_NF[n, f] = y_RN[f, n]
        activate(out_NF[n], activation)
        if gated:
            for f in range(ffn_width):
                out_NF[n, f] *= y_RN[ffn_width + f, n]
    return out_NF


@numba.njit(**FAST)
def add_columns(x_ND, y_DN):
    """x += yᵀ."""
    for n in range(x_ND.shape[0]):
        for d in range(x_ND.shape[1]):
            x_ND[n, d] += y_DN[d, n]


def token_vector(places, token, out_D, kind):
    """Writes the row of a token; exists only inside compiled code."""
    raise NotImplementedError


@overload(token_vector)
def _token_vector(places, token, out_D, kind):
    if kind.dtype == INT8:

        def read(places, token, out_D, kind):
            width = out_D.shape[0]
            row_D = vector(places[0] + token * padded(width, kind), width, kind)
            scale = vector(places[1] + token * 4, 1, SINGLE)[0]
            for d in range(width):
                out_D[d] = row_D[d] * scale

        return read

    def widened(places, token, out_D, kind):
        row_D = vector(places[0] + token * row_bytes(out_D.shape[0], kind), out_D.shape[0], kind)
        for d in range(out_D.shape[0]):
            out_D[d] = widen(row_D[d])

    return widened


@numba.njit(**FAST)
def entering(edges, ids, positions, width, scale, kind):
    """What enters the first layer, (N, D): tokens' vectors, scaled, and those of their positions."""
    x_ND = np.empty((ids.shape[0], width), np.float32)
    for n in range(ids.shape[0]):
        token_vector(edges[0], ids[n], x_ND[n], kind)
        for d in range(width):
            x_ND[n, d] *= scale
        if edges[3, 0]:
            place_D = vector(edges[3, 0] + positions[n] * width * SINGLE.itemsize, width, SINGLE)
            for d in range(width):
                x_ND[n, d] += place_D[d]
    return x_ND


@numba.njit(nogil=True, error_model="numpy")
def decode(tables, edges, sizes, cache, numbers, flags, waves, tokens, wanted, kinds):
    """Logits (V, W) of the tokens at the indices `wanted`; keys and values of all N tokens go into the cache.

    tables: addresses of norms (L, 4, 2), matrices (L, 7, 3) and caches (L, 2), and each layer's scale of scores and
    whether it turns (L, 2). edges: (4, 3). sizes: width, query heads, ffn width, vocabulary, shift (see `product`).
    cache: its shape (P, K, S, E), of fp32 numbers, and the blocks that hold each row (B, M). numbers: ε of norms and of
    those of heads, scale of the embedding. flags: whether norms are LayerNorms, whether those of heads are, whether
    there is a gate, which activation. waves: cosines and sines (S, E/2), fp32. tokens: ids, rows and positions, (3, N).
    kinds: what the layers' matrices are stored as, and embedding and head.
    """
    norms, matrices, caches, layers = tables
    width, heads, ffn_width, vocabulary, shift = sizes
    shape_PKSE, blocks_BM = cache
    _, kv_heads, _, head_width = shape_PKSE
    eps, head_eps, scale = numbers
    centred, heads_centred, gated, activation = flags
    ids, slots, positions = tokens[0], tokens[1], tokens[2]
    kind, edge_kind = kinds
    count, q_rows, kv_rows = ids.shape[0], heads * head_width, kv_heads * head_width
    x_ND = entering(edges, ids, positions, width, scale, edge_kind)
    for layer in range(norms.shape[0]):
        n_ND = normed(x_ND, norms[layer, 0], eps, centred)
        y_RN = product(matrices[layer, 0:3], np.array([q_rows, kv_rows, kv_rows]), n_ND, kind, shift)
        q_NHE = heads_normed(heads_of(y_RN, 0, heads, head_width), norms[layer, 1], head_eps, heads_centred)
        k_NKE = heads_normed(heads_of(y_RN, q_rows, kv_heads, head_width), norms[layer, 2], head_eps, heads_centred)
        if layers[layer, 1] != 0:
            turn(q_NHE, positions, waves)
            turn(k_NKE, positions, waves)
        store(k_NKE, caches[layer, 0], slots, positions, blocks_BM, shape_PKSE)
        v_NKE = heads_of(y_RN, q_rows + kv_rows, kv_heads, head_width)
        store(v_NKE, caches[layer, 1], slots, positions, blocks_BM, shape_PKSE)
        score_scale = np.float32(layers[layer, 0])
        mixed_NHE = attend(
            q_NHE, caches[layer, 0], caches[layer, 1], slots, positions, blocks_BM, shape_PKSE, score_scale
        )
        mixed_ND = mixed_NHE.reshape((count, q_rows))
        add_columns(x_ND, product(matrices[layer, 3:4], np.array([width]), mixed_ND, kind, shift))
        m_ND = normed(x_ND, norms[layer, 3], eps, centred)
        first = 4 if gated else 5
        y_RN = product(matrices[layer, first:6], np.full(6 - first, ffn_width), m_ND, kind, shift)
        inner_NF = middle(y_RN, ffn_width, gated, activation)
        add_columns(x_ND, product(matrices[layer, 6:7], np.array([width]), inner_NF, kind, shift))
    last_WD = np.empty((wanted.shape[0], width), np.float32)
    for row in range(wanted.shape[0]):
        last_WD[row] = x_ND[wanted[row]]
    return product(edges[1:2], np.array([vocabulary]), normed(last_WD, edges[2], eps, centred), edge_kind, shift)
