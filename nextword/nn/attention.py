"""Attention: each position asks all positions up to its own, and takes the mean of their values by how well they match.

    a = softmax(Q Kᵀ / √E) V          rows of the softmax sum to 1; a position sees itself and earlier ones

H query heads share K ≤ H key-value heads, H/K each (grouped-query attention; Ainslie et al., "GQA", 2023): K = H is the
multi-head attention of Vaswani et al. (2017), K = 1 is multi-query attention. The cache holds only the K heads.

Rows are padded on the right. Under a causal mask a real query never sees a padded key, which stands behind it, so rows
of different lengths need no mask of their own until a cache with ragged rows is read.
"""

from dataclasses import dataclass
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nextword.nn.cache import LayerCache, View
from nextword.nn.init import normal, zeros
from nextword.nn.position.rope import rotate

SCORES_BYTES = 64 << 20  # the batched products keep all scores of a layer for the gradient: only up to this size


@dataclass(frozen=True)
class AttentionSettings:
    """What an attention is made of; `dropout` falls on its weights while training."""

    width: int
    heads: int
    kv_heads: int
    head_width: int
    bias: bool = False
    dropout: float = 0.0


class Attention(nn.Module):
    """x_BTD -> what each position takes from those that it sees, of the same shape."""

    def __init__(self, settings: AttentionSettings) -> None:
        super().__init__()
        self.settings = settings
        width, heads_width = settings.width, settings.heads * settings.head_width
        kv_width = settings.kv_heads * settings.head_width
        self.query = nn.Linear(width, heads_width, bias=settings.bias)
        self.key = nn.Linear(width, kv_width, bias=settings.bias)
        self.value = nn.Linear(width, kv_width, bias=settings.bias)
        self.output = nn.Linear(heads_width, width, bias=settings.bias)

    def forward(
        self, x_BTD: Tensor, turn: tuple[Tensor, Tensor], view: View | None = None, memory: LayerCache | None = None
    ) -> Tensor:
        """`turn` are the cosines and sines of the positions; with a `view`, keys and values go through the cache."""
        q_BHTE, k_BKTE, v_BKTE = (self.split(part(x_BTD)) for part in (self.query, self.key, self.value))
        q_BHTE, k_BKTE = rotate(q_BHTE, *turn), rotate(k_BKTE, *turn)
        if view is None:
            dropout = self.settings.dropout if self.training else 0.0
            a_BHTE = causal_attention(q_BHTE, k_BKTE, v_BKTE, dropout)
        else:
            k_BKSE, v_BKSE = view.write(memory, k_BKTE, v_BKTE)
            a_BHTE = cached_attention(q_BHTE, k_BKSE, v_BKSE, view)
        return self.output(a_BHTE.transpose(1, 2).flatten(2))

    def split(self, x_BTD: Tensor) -> Tensor:
        """(B, T, heads · E) -> (B, heads, T, E), a view."""
        return x_BTD.unflatten(-1, (-1, self.settings.head_width)).transpose(1, 2)

    def initialise(self, std: float, output_std: float, generator: torch.Generator) -> None:
        """Normal weights, zero biases; `output_std` is for the matrix that writes into the residual stream."""
        for linear, spread in ((self.query, std), (self.key, std), (self.value, std), (self.output, output_std)):
            normal(linear.weight, spread, generator)
            zeros(linear.bias)


def causal_attention(q_BHTE: Tensor, k_BKTE: Tensor, v_BKTE: Tensor, dropout: float = 0.0) -> Tensor:
    """Attention of whole rows to themselves, by the fastest exact way that there is for the type and device.

    In bf16 on a CPU whose products are fast, three batched products beat the flash kernel (588 against 828 ms a step
    of a 10.6M model on two Zen 5 cores); everywhere else the flash kernel is as fast or faster, and keeps no scores.
    """
    rows, heads, time, _ = q_BHTE.shape
    small = rows * heads * time * time * q_BHTE.element_size() <= SCORES_BYTES
    if q_BHTE.dtype == torch.bfloat16 and q_BHTE.device.type == "cpu" and small and not dropout and fast_bfloat16():
        return causal_products(q_BHTE, k_BKTE, v_BKTE)
    grouped = q_BHTE.shape[1] != k_BKTE.shape[1]
    return F.scaled_dot_product_attention(q_BHTE, k_BKTE, v_BKTE, is_causal=True, enable_gqa=grouped, dropout_p=dropout)


def causal_products(q_BHTE: Tensor, k_BKTE: Tensor, v_BKTE: Tensor) -> Tensor:
    """The same as two batched products with a softmax between; the heads of a group stand one below the other."""
    rows, heads, time, width = q_BHTE.shape
    groups = k_BKTE.shape[1]
    unseen_TT = torch.full((time, time), float("-inf"), dtype=q_BHTE.dtype, device=q_BHTE.device).triu(1)
    q_NTE = q_BHTE.reshape(rows * groups, heads // groups * time, width)
    k_NTE, v_NTE = (x.reshape(rows * groups, time, width) for x in (k_BKTE, v_BKTE))
    scores_NTS = torch.baddbmm(unseen_TT.repeat(heads // groups, 1), q_NTE, k_NTE.mT, alpha=width**-0.5)
    return torch.bmm(scores_NTS.softmax(-1), v_NTE).view(rows, heads, time, width)


def cached_attention(q_BHTE: Tensor, k_BKSE: Tensor, v_BKSE: Tensor, view: View) -> Tensor:
    """Attention of new positions to everything that the cache holds for them."""
    if view.causal:
        return causal_attention(q_BHTE, k_BKSE, v_BKSE)
    rows, heads, time, width = q_BHTE.shape
    groups = k_BKSE.shape[1]
    if time == 1:  # the heads of a group as queries of one attention: keys and values are read once, not H/K times
        q_BKGE = q_BHTE.view(rows, groups, heads // groups, width)
        return F.scaled_dot_product_attention(q_BKGE, k_BKSE, v_BKSE, view.mask_B1TS).view(rows, heads, 1, width)
    return F.scaled_dot_product_attention(q_BHTE, k_BKSE, v_BKSE, view.mask_B1TS, enable_gqa=groups != heads)


@cache
def fast_bfloat16() -> bool:
    """Whether this CPU multiplies bf16 matrices in hardware (AVX512-BF16 or AMX)."""
    found = torch.cpu.get_capabilities()
    return bool(found.get("avx512_bf16") or found.get("amx_bf16"))
