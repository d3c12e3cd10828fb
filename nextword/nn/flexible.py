"""Windows and packed documents on a GPU: attention that skips what nobody sees, in place of hiding it.

A mask (B, T, S) makes a kernel compute every score and throw most of them away: of eight documents packed into a row,
seven eighths. FlexAttention (Dong et al., "Flex Attention: A Programming Model for Generating Optimized Attention
Kernels", 2024) takes the rule itself, as a function of the places of query and key, cuts the scores into blocks of 128
by 128, leaves out the blocks in which nothing is seen and compiles the rest, a soft cap included, into one kernel.

    seen(b, q, k) = reach(k - q) and begins[b, q] = begins[b, k] and (real[b, k] or q = k)

Only there, because on a CPU its kernel has no gradient and a dense mask is as fast. Left out: reading through a cache,
dropout of the weights and numbers that are added to scores, which keep the mask. Uncompiled it computes the same step
by step on any device, which is how it is tested against the mask.
"""

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention

from nextword.nn.mask import Reach

DEVICES = frozenset({"cuda"})
NARROWEST = 16  # the least head width that its kernels take


def pays(device: torch.device, head_width: int) -> bool:
    """Whether what hides keys is to be said as blocks and not as a mask."""
    return device.type in DEVICES and head_width >= NARROWEST and not torch.compiler.is_compiling()


def block_mask(
    reach: Reach, begins_BT: Tensor | None, real_BT: Tensor | None, shape: tuple[int, int], device: torch.device
) -> BlockMask:
    """Which blocks of queries and keys hold something that is seen, in rows that are read whole; `shape` is (B, T).

    begins_BT: where each place's document begins, in packed rows. real_BT: what is no padding, for encoders.
    """
    rows, time = shape
    alike = begins_BT is None and real_BT is None
    places_T = torch.arange(time, device=device)

    def seen(row: Tensor, _: Tensor, query: Tensor, key: Tensor) -> Tensor:
        one = reach.within(places_T[key] - places_T[query])
        if begins_BT is not None:
            one = one & (begins_BT[row, query] == begins_BT[row, key])
        return one if real_BT is None else one & (real_BT[row, key] | (query == key))

    return create_block_mask(seen, None if alike else rows, None, time, time, device=device)


def flexible(
    q_BHTE: Tensor, k_BKTE: Tensor, v_BKTE: Tensor, blocks: BlockMask, scale: float | None, cap: float | None = None
) -> Tensor:
    """softmax(cap(Q Kᵀ · scale)) V over what the blocks let be seen; no cap where None."""
    shaped = None if cap is None else _capped(cap)
    grouped = q_BHTE.shape[1] != k_BKTE.shape[1]
    a_BHTE = _kernel(q_BHTE.device.type)(q_BHTE, k_BKTE, v_BKTE, shaped, blocks, scale, grouped)
    assert isinstance(a_BHTE, Tensor)
    return a_BHTE


@cache
def _kernel(device: str) -> Callable[..., Tensor | tuple[Tensor, ...]]:
    return torch.compile(flex_attention, dynamic=False) if device == "cuda" else flex_attention


@cache
def _capped(cap: float) -> Callable[..., Tensor]:
    """cap · tanh(score / cap); one function for each cap, so that one kernel is compiled for it."""

    def shaped(score: Tensor, *_: Tensor) -> Tensor:
        return cap * torch.tanh(score / cap)

    return shaped
