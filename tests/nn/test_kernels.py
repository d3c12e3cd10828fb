"""The compiled kernels of attention and e^x against exact sums."""

import numba
import numpy as np
import pytest

from nextword.nn.kernels.attention import attend
from nextword.nn.kernels.exponential import exponential


@numba.njit
def each(x_N):
    return np.array([exponential(x) for x in x_N])


def test_exponential() -> None:
    draw = np.random.default_rng(0)
    x = np.concatenate((np.linspace(-87, 88, 5001), draw.normal(size=5000))).astype(np.float32)
    wanted = np.exp(x.astype(np.float64))
    assert np.abs(each(x) / wanted - 1).max() < 3e-7
    edges = each(np.array([-1000, -np.inf, 0, 1000, np.nan], np.float32))
    assert list(edges[:3]) == [0, 0, 1] and edges[3] > 1e38 and np.isnan(edges[4])


def exact(q_NHE, k_SKE, v_SKE, positions, scale):
    """The formula in float64; every query of one text."""
    out_NHE = np.empty(q_NHE.shape)
    shared = q_NHE.shape[1] // k_SKE.shape[1]
    for n, place in enumerate(positions):
        for h in range(q_NHE.shape[1]):
            k_SE, v_SE = (x[: place + 1, h // shared].astype(np.float64) for x in (k_SKE, v_SKE))
            scores_S = k_SE @ q_NHE[n, h] * scale
            weights_S = np.exp(scores_S - scores_S.max())
            out_NHE[n, h] = weights_S @ v_SE / weights_S.sum()
    return out_NHE


@pytest.mark.parametrize("room", [4, 64])
@pytest.mark.parametrize(("heads", "kv_heads", "width"), [(8, 1, 32), (6, 2, 40), (4, 4, 64), (5, 1, 10), (7, 7, 100)])
def test_attention_of_texts_together(heads: int, kv_heads: int, width: int, room: int) -> None:
    """Two texts in blocks that lie anywhere, some tokens of each; and each query the same number when it is alone."""
    draw = np.random.default_rng(heads)
    lengths, tokens = (61, 7), [(0, range(50, 61)), (1, [6]), (0, [3, 4])]
    columns = -(-max(lengths) // room)
    blocks_BM = draw.permutation(2 * columns).reshape(2, columns).astype(np.int64)
    shape = (2 * columns, kv_heads, room, width)
    keys, values = (np.full(shape, np.nan, np.float32) for _ in "kv")
    texts = [[draw.normal(size=(n, kv_heads, width)).astype(np.float32) for _ in "kv"] for n in lengths]
    for row, (k_SKE, v_SKE) in enumerate(texts):
        for s in range(len(k_SKE)):
            block, place = blocks_BM[row, s // room], s % room
            keys[block, :, place], values[block, :, place] = k_SKE[s], v_SKE[s]
    slots = np.array([row for row, places in tokens for _ in places])
    positions = np.array([place for _, places in tokens for place in places])
    q_NHE = draw.normal(size=(len(slots), heads, width)).astype(np.float32)
    scale = np.float32(0.3)

    def run(chosen: list[int]) -> np.ndarray:
        places = keys.ctypes.data, values.ctypes.data
        return attend(q_NHE[chosen], *places, slots[chosen], positions[chosen], blocks_BM, shape, scale)

    found_NHE = run(list(range(len(slots))))
    for row, (k_SKE, v_SKE) in enumerate(texts):
        mine = slots == row
        wanted = exact(q_NHE[mine], k_SKE, v_SKE, positions[mine], scale)
        assert np.abs(found_NHE[mine] - wanted).max() <= 2e-6 * np.abs(wanted).max()
    for n in (0, 5, 10, 11, 12, 13):
        assert np.array_equal(run([n])[0], found_NHE[n])
