"""Attention: each position asks the positions that it sees, and takes the mean of their values by how well they match.

    a = softmax(Q Kᵀ · scale + bias) V          scale = 1/√E; rows of the softmax sum to 1

A decoder's position sees itself and earlier ones, an encoder's all; see `nextword.nn.mask`. H query heads share K ≤ H
key-value heads, H/K each (grouped-query attention; Ainslie et al., "GQA", 2023): K = H is the multi-head attention of
Vaswani et al. (2017), K = 1 is multi-query attention (Shazeer, 2019). The cache holds only the K heads. Queries and
keys may be normalised before they meet (Henry et al., "Query-Key Normalization", 2020), and scores capped softly,
cap · tanh(score / cap) (Gemma 2, 2024), so that none grows without bound; or queries, keys and values are cut off at
±clip before they turn (MPT, OLMo). In cross-attention the keys and values come from another text, the source of an
encoder-decoder.

Rows are padded on the right. Under a causal mask a real query never sees a padded key, which stands behind it, so rows
of different lengths need no mask of their own until a cache with ragged rows is read.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nextword.nn.cache import LayerCache, View
from nextword.nn.dropout import unchanged
from nextword.nn.flexible import flexible
from nextword.nn.init import normal, zeros
from nextword.nn.kept_scores import kept_scores
from nextword.nn.mask import Reach, Sight
from nextword.nn.norm import NormSettings, RMSNorm, make_norm
from nextword.nn.position.rope import rotate, rotate_first

LONG = 128  # positions from which on fp32 products beat the flash kernel in training
SCORES_BYTES = 64 << 20  # the batched products keep all scores of a layer for the gradient: only up to this size


@dataclass(frozen=True)
class AttentionSettings:
    """What an attention is made of.

    dropout falls on its weights while training. reach: who sees whom. rotary: queries and keys are turned by their
    positions; rotary_width: so many coordinates of a head, the first ones (None: all). scale: of the scores,
    1/√head_width where None. cap: of the scores. qk_norm: of queries and keys, head by head, or with qk_joint all heads
    as one vector. output_bias: of the matrix that writes, where it differs from `bias`. clip: of queries, keys, values.
    """

    width: int
    heads: int
    kv_heads: int
    head_width: int
    bias: bool = False
    dropout: float = 0.0
    reach: Reach = Reach()
    rotary: bool = True
    scale: float | None = None
    cap: float | None = None
    qk_norm: NormSettings | None = None
    qk_joint: bool = False
    rotary_width: int | None = None
    output_bias: bool | None = None
    clip: float | None = None


def _stay(x_BHTE: Tensor, *_: Tensor) -> Tensor:
    """In place of a rotation where positions do not turn."""
    return x_BHTE


# whether queries and keys turn, and whether only their first coordinates do
TURNS: dict[tuple[bool, bool], Callable[..., Tensor]] = {
    (False, False): _stay,
    (True, False): rotate,
    (True, True): rotate_first,
}


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
        output_bias = settings.bias if settings.output_bias is None else settings.output_bias
        self.output = nn.Linear(heads_width, width, bias=output_bias)
        self.query_norm, self.key_norm = (head_norm(settings, heads) for heads in (settings.heads, settings.kv_heads))
        self.clip = unchanged if settings.clip is None else partial(torch.clamp, min=-settings.clip, max=settings.clip)
        self.turn = TURNS[settings.rotary, settings.rotary_width not in {None, settings.head_width}]
        self.attend: Attend = attention if settings.cap is None else partial(capped_attention, cap=settings.cap)

    def forward(
        self,
        x_BTD: Tensor,
        angles: tuple[Tensor, ...],
        sight: Sight,
        view: View | None = None,
        memory: LayerCache | None = None,
    ) -> Tensor:
        """`angles`: cosines and sines of the positions, where they turn; with a `view`, keys go through the cache."""
        return self.take(x_BTD, self.split(self.clip(self.value(x_BTD))), angles, sight, view, memory)

    def take(
        self,
        x_BTD: Tensor,
        v_BKTE: Tensor,
        angles: tuple[Tensor, ...],
        sight: Sight,
        view: View | None,
        memory: LayerCache | None,
    ) -> Tensor:
        """What each position takes of the values."""
        q_BHTE = self.clip(self.query_norm(self.split(self.query(x_BTD))))
        k_BKTE = self.clip(self.key_norm(self.split(self.key(x_BTD))))
        q_BHTE, k_BKTE = self.turn(q_BHTE, *angles), self.turn(k_BKTE, *angles)
        dropout = self.settings.dropout if self.training else 0.0
        attend = self.attend if view is None else partial(view.attend, memory, self.attend)
        a_BHTE = attend(q_BHTE, k_BKTE, v_BKTE, sight, dropout, self.settings.scale)
        return self.output(a_BHTE.transpose(1, 2).flatten(2))

    def split(self, x_BTD: Tensor) -> Tensor:
        """(B, T, heads · E) -> (B, heads, T, E), a view."""
        return x_BTD.unflatten(-1, (-1, self.settings.head_width)).transpose(1, 2)

    def initialise(self, std: float, output_std: float, generator: torch.Generator) -> None:
        """Normal weights, zero biases; `output_std` is for the matrix that writes into the residual stream."""
        for linear, spread in ((self.query, std), (self.key, std), (self.value, std), (self.output, output_std)):
            normal(linear.weight, spread, generator)
            zeros(linear.bias)
        for norm in (self.query_norm, self.key_norm):
            if isinstance(norm, nn.Module):
                norm.initialise()


class CrossAttention(Attention):
    """x_BTD asks a source, whose keys and values are computed once (`read`) and kept."""

    def read(self, source_BSD: Tensor) -> LayerCache:
        """The keys and values of a source."""
        return LayerCache(self.key_norm(self.split(self.key(source_BSD))), self.split(self.value(source_BSD)))

    def forward(self, x_BTD: Tensor, source: LayerCache, sight: Sight) -> Tensor:
        """What each position takes from the source."""
        q_BHTE = self.query_norm(self.split(self.query(x_BTD)))
        dropout = self.settings.dropout if self.training else 0.0
        a_BHTE = self.attend(q_BHTE, source.k_BKSE, source.v_BKSE, sight, dropout, self.settings.scale)
        return self.output(a_BHTE.transpose(1, 2).flatten(2))


class JointRMSNorm(RMSNorm):
    """All heads of a position normed as the one vector that they were projected as (OLMo 2; Team OLMo, 2025)."""

    def forward(self, x_BHTE: Tensor) -> Tensor:
        """Of the same shape."""
        return super().forward(x_BHTE.transpose(1, 2).flatten(2)).unflatten(-1, (x_BHTE.shape[1], -1)).transpose(1, 2)


def head_norm(settings: AttentionSettings, heads: int) -> Callable[[Tensor], Tensor]:
    """The norm of so many heads that the settings ask for."""
    if settings.qk_norm is None:
        return unchanged
    if settings.qk_joint:
        return JointRMSNorm(replace(settings.qk_norm, width=heads * settings.head_width))
    return make_norm(settings.qk_norm)


Attend = Callable[[Tensor, Tensor, Tensor, Sight, float, float | None], Tensor]


def attention(
    q_BHTE: Tensor, k_BKSE: Tensor, v_BKSE: Tensor, sight: Sight, dropout: float = 0.0, scale: float | None = None
) -> Tensor:
    """softmax(Q Kᵀ · scale + mask) V by the fastest exact way that there is."""
    if sight.causal:
        return causal_attention(q_BHTE, k_BKSE, v_BKSE, dropout, scale)
    if sight.blocks is not None:
        return flexible(q_BHTE, k_BKSE, v_BKSE, sight.blocks, scale)
    rows, heads, time, width = q_BHTE.shape
    groups, mask = k_BKSE.shape[1], sight.mask
    if mask is not None and mask.requires_grad:  # PyTorch's kernels give a mask no gradient, but for the slowest
        if dropout or torch.compiler.is_compiling():
            return products(q_BHTE, k_BKSE, v_BKSE, sight, dropout, scale)
        return kept_scores(q_BHTE, k_BKSE, v_BKSE, mask, width**-0.5 if scale is None else scale)
    if time == 1 and (mask is None or mask.shape[1] == 1):
        # the heads of a group as queries of one attention: keys and values are read once, not H/K times
        q_BKGE = q_BHTE.view(rows, groups, heads // groups, width)
        a_BKGE = F.scaled_dot_product_attention(q_BKGE, k_BKSE, v_BKSE, mask, dropout_p=dropout, scale=scale)
        return a_BKGE.view(rows, heads, 1, width)
    return F.scaled_dot_product_attention(
        q_BHTE, k_BKSE, v_BKSE, mask, dropout_p=dropout, scale=scale, enable_gqa=groups != heads
    )


def causal_attention(
    q_BHTE: Tensor, k_BKTE: Tensor, v_BKTE: Tensor, dropout: float = 0.0, scale: float | None = None
) -> Tensor:
    """Attention of whole rows to themselves, by the fastest exact way that there is for the type and device."""
    if not dropout and products_win(q_BHTE):
        return kept_scores(q_BHTE, k_BKTE, v_BKTE, None, q_BHTE.shape[-1] ** -0.5 if scale is None else scale, True)
    grouped = q_BHTE.shape[1] != k_BKTE.shape[1]
    return F.scaled_dot_product_attention(
        q_BHTE, k_BKTE, v_BKTE, is_causal=True, enable_gqa=grouped, dropout_p=dropout, scale=scale
    )


def products_win(q_BHTE: Tensor) -> bool:
    """Whether batched products that keep their weights beat the flash kernel.

    On a CPU they do, while training: forward and gradient of 6 heads of width 64 in fp32 on a Zen 3 core take 16 in
    place of 17 ms at 128 positions, 98 / 108 at 256 and 39 / 57 at 512; in bf16 where its products are fast (Zen 5) a
    whole step of a 10.6M model took 588 in place of 828 ms. The weights must be few enough to be kept.
    """
    rows, heads, time, _ = q_BHTE.shape
    small = rows * heads * time * time * q_BHTE.element_size() <= SCORES_BYTES
    if q_BHTE.device.type != "cpu" or not small or torch.compiler.is_compiling():
        return False
    if q_BHTE.dtype == torch.bfloat16:
        return fast_bfloat16()
    return q_BHTE.dtype == torch.float32 and time >= LONG and torch.is_grad_enabled() and q_BHTE.requires_grad


def products(
    q_BHTE: Tensor,
    k_BKSE: Tensor,
    v_BKSE: Tensor,
    sight: Sight,
    dropout: float = 0.0,
    scale: float | None = None,
    shape: Callable[[Tensor], Tensor] = unchanged,
) -> Tensor:
    """Attention step by step, whatever the mask, whose gradient it gives; `shape` is applied to the scaled scores."""
    rows, heads, time, width = q_BHTE.shape
    groups, span = k_BKSE.shape[1], k_BKSE.shape[2]
    q_NTE = (q_BHTE * (width**-0.5 if scale is None else scale)).reshape(rows * groups, -1, width)
    k_NSE, v_NSE = (x.reshape(rows * groups, span, width) for x in (k_BKSE, v_BKSE))
    scores_BHTS = shape(torch.bmm(q_NTE, k_NSE.mT)).view(rows, heads, time, span)
    if sight.causal:
        unseen_TS = torch.ones(time, span, dtype=torch.bool, device=q_BHTE.device).triu(1)
        scores_BHTS = scores_BHTS.masked_fill(unseen_TS, float("-inf"))
    elif sight.mask is not None and sight.mask.dtype == torch.bool:
        scores_BHTS = scores_BHTS.masked_fill(~sight.mask, float("-inf"))
    elif sight.mask is not None:
        scores_BHTS = scores_BHTS + sight.mask
    weights_BHTS = F.dropout(scores_BHTS.softmax(-1), dropout, bool(dropout))
    return torch.bmm(weights_BHTS.view(rows * groups, -1, span), v_NSE).view(rows, heads, time, width)


def capped_attention(
    q_BHTE: Tensor,
    k_BKSE: Tensor,
    v_BKSE: Tensor,
    sight: Sight,
    dropout: float = 0.0,
    scale: float | None = None,
    *,
    cap: float,
) -> Tensor:
    """Attention whose scaled scores are brought within ±cap before anything is added or hidden."""
    if sight.blocks is not None:
        return flexible(q_BHTE, k_BKSE, v_BKSE, sight.blocks, scale, cap)
    return products(q_BHTE, k_BKSE, v_BKSE, sight, dropout, scale, lambda scores: cap * torch.tanh(scores / cap))


@cache
def fast_bfloat16() -> bool:
    """Whether this CPU multiplies bf16 matrices in hardware (AVX512-BF16 or AMX)."""
    found = torch.cpu.get_capabilities()
    return bool(found.get("avx512_bf16") or found.get("amx_bf16"))
