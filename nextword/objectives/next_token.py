"""Predict the next token: the objective of every causal language model, from Shannon's n-grams to Llama.

Loss = - sum over t of log p(w_{t+1} | w_1 .. w_t): the labels are the ids shifted by one. A row of T + 1 ids gives T
predictions; one whose label is padding does not count.
"""

import torch
from torch import Tensor

from nextword.models.base import IGNORED, Batch, LanguageModel
from nextword.nn.loss import Loss, Term


class NextToken:
    """Cross-entropy of each token given those before it in its row (nats)."""

    additive = True

    def counts(self, batch: Batch) -> dict[str, int]:
        """Labels that are real tokens."""
        if batch.mask_BT is None:
            return {"next_token": batch.ids_BT[:, 1:].numel()}
        return {"next_token": int(batch.mask_BT[:, 1:].sum())}

    def __call__(self, model: LanguageModel, batch: Batch) -> Loss:
        """One term, the summed negative log-likelihood of the labels."""
        inputs, labels_BT = shift(batch)
        logp_BT = model.score(inputs, labels_BT)
        return {"next_token": Term(-logp_BT.sum(), (labels_BT != IGNORED).sum())}


def shift(batch: Batch) -> tuple[Batch, Tensor]:
    """Inputs (B, T) and labels (B, T) from rows of T + 1 ids; a masked label becomes -100."""
    ids_BT, mask_BT = batch.ids_BT, batch.mask_BT
    if mask_BT is None:
        return Batch(ids_BT[:, :-1]), ids_BT[:, 1:]
    labels_BT = torch.where(mask_BT[:, 1:], ids_BT[:, 1:], IGNORED)
    return Batch(ids_BT[:, :-1], mask_BT[:, :-1]), labels_BT


objective = NextToken
