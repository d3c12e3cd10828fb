"""Attention maps: how much each position takes from each of those that it sees, by layer and head.

    p = softmax(Q Kᵀ · scale + bias)          p[t, s] ≥ 0,  Σ_s p[t, s] = 1

The kernels that compute attention fast never hold p; here it is computed as it is written, one layer after the other.
What the maps show is where information may come from, and not why a model said something (Jain & Wallace, "Attention is
not Explanation", 2019). First drawn by Bahdanau et al. (2015); what heads attend to: Clark et al., "What Does BERT Look
At?" (2019).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from nextword.models.base import LanguageModel
from nextword.models.encoder_decoder import EncoderDecoder
from nextword.nn.attention import Attention
from nextword.nn.block import Block
from nextword.nn.mask import Sight
from nextword.probe.watched import batch_of, watched


class Maps(NamedTuple):
    """Probabilities on the CPU, fp32. own_LHTT: of the text to itself.

    An encoder-decoder has those of the source to itself, too, and of the text to the source.
    """

    own_LHTT: Tensor
    source_LHSS: Tensor | None = None
    cross_LHTS: Tensor | None = None


@torch.inference_mode()
def attention_maps(model: LanguageModel, ids: Sequence[int], source: Sequence[int] | None = None) -> Maps:
    """The maps of all layers and heads for one text; memory grows with layers · heads · tokens².

    SettingsError for a model without attention, and where a source is missing or too much.
    """
    seen = watched(model, "an attention map")
    batch = batch_of(seen, ids, source)
    if isinstance(seen, EncoderDecoder):
        own = [_watch(block.attention) for block in seen.decoder.layers]
        theirs = [_watch(block.attention) for block in seen.encoder.layers]
        cross = [_watch(block.cross) for block in seen.decoder.layers]
        seen.hidden(batch)
        return Maps(_joined(own), _joined(theirs), _joined(cross))
    layers: Sequence[Block] = seen.layers
    own = [_watch(block.attention) for block in layers]
    seen.hidden(batch)
    return Maps(_joined(own))


@dataclass
class Watching:
    """Attends step by step and keeps the probabilities of every call."""

    cap: float | None
    kept: list[Tensor] = field(default_factory=list)

    def __call__(
        self, q_BHTE: Tensor, k_BKSE: Tensor, v_BKSE: Tensor, sight: Sight, dropout: float, scale: float | None
    ) -> Tensor:
        """What attention gives."""
        p_BHTS = probabilities(q_BHTE, k_BKSE, sight, scale, self.cap)
        self.kept.append(p_BHTS[0].float().cpu())
        return p_BHTS.to(v_BKSE.dtype) @ _for_each_head(v_BKSE, q_BHTE.shape[1])


def probabilities(
    q_BHTE: Tensor, k_BKSE: Tensor, sight: Sight, scale: float | None = None, cap: float | None = None
) -> Tensor:
    """softmax(cap(Q Kᵀ · scale) + mask), fp32, (B, H, T, S)."""
    scale = q_BHTE.shape[-1] ** -0.5 if scale is None else scale
    scores_BHTS = (q_BHTE @ _for_each_head(k_BKSE, q_BHTE.shape[1]).mT).float() * scale
    if cap is not None:
        scores_BHTS = cap * torch.tanh(scores_BHTS / cap)
    mask = sight.mask
    if sight.causal:
        mask = torch.ones(scores_BHTS.shape[-2:], dtype=torch.bool, device=scores_BHTS.device).tril()
    if mask is not None and mask.dtype == torch.bool:
        scores_BHTS = scores_BHTS.masked_fill(~mask, float("-inf"))
    elif mask is not None:
        scores_BHTS = scores_BHTS + mask
    return scores_BHTS.softmax(-1)


def _for_each_head(x_BKSE: Tensor, heads: int) -> Tensor:
    """Keys or values once for each query head that shares them."""
    return x_BKSE.repeat_interleave(heads // x_BKSE.shape[1], dim=1)


def _watch(attention: Attention) -> Watching:
    """What will keep this attention's probabilities; the same for layers that share one attention."""
    if not isinstance(attention.attend, Watching):
        attention.attend = Watching(attention.settings.cap)
    return attention.attend


def _joined(layers: Sequence[Watching]) -> Tensor:
    """(L, H, T, S); layers that share an attention (ALBERT) took their turns in order."""
    turns = {id(one): iter(one.kept) for one in layers}
    return torch.stack([next(turns[id(one)]) for one in layers])
