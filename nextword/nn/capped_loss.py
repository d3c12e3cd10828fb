"""Cross-entropy of scores that are capped softly, cap · tanh(z / cap) (Gemma 2, 2024), in chunks as `nextword.nn.loss`.

The derivative of the cap needs the scores themselves, so each chunk is computed again for the gradient.
"""

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from nextword.nn.loss import IGNORED, LIMIT_BYTES


def capped_cross_entropy(
    hidden_ND: Tensor, weight_VD: Tensor, labels_N: Tensor, bias_V: Tensor | None, cap: float
) -> Tensor:
    """The negative log-likelihood of each label in nats, (N,), fp32; 0 and no gradient where the label is -100."""
    wide = torch.promote_types(hidden_ND.dtype, torch.float32)
    rows = max(1, LIMIT_BYTES // (weight_VD.shape[0] * wide.itemsize))

    def chunk(hidden_MD: Tensor, labels_M: Tensor) -> Tensor:
        scores_MV = cap * torch.tanh(F.linear(hidden_MD, weight_VD, bias_V).to(wide) / cap)
        return F.cross_entropy(scores_MV, labels_M, ignore_index=IGNORED, reduction="none")

    pieces = zip(hidden_ND.split(rows), labels_N.split(rows), strict=True)
    return torch.cat([checkpoint(chunk, *piece, use_reentrant=False, preserve_rng_state=False) for piece in pieces])
