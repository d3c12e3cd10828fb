"""A transformer whose feed-forwards are mixtures of experts (`nextword.nn.moe`): what its routers add to the loss.

The balance of a batch is not a sum over its tokens: shares times probabilities, both means. Each part of a batch (a
micro-batch, the rows of a process) has its own, and counts as much as it has tokens: their mean is what is minimised,
a slightly stricter aim than the balance of the whole. In one part it is exactly transformers'
`load_balancing_loss_func`.
"""

from typing import Any

import torch
from torch import Tensor

from nextword.models.base import BALANCE, Batch, Output
from nextword.models.costs import Costs
from nextword.models.scores import head_logprobs
from nextword.models.transformer import Transformer, TransformerSettings
from nextword.nn.cache import KVCache
from nextword.nn.loss import Term
from nextword.nn.moe import Balance, Mixture, MixtureSettings


class MixtureTransformer(Transformer):
    """A Transformer of which some or all blocks are of the arrangement "mixture"."""

    def __init__(self, settings: TransformerSettings, config: dict[str, Any]) -> None:
        super().__init__(settings, config)
        self.weight = next(b.feedforward.balance for b in settings.blocks if isinstance(b.feedforward, MixtureSettings))

    def hidden(self, batch: Batch, state: KVCache | None = None) -> Output:
        """hidden_BTD after the last norm; without a state, the balance of the batch as a term of the loss."""
        if state is not None or not self.weight:
            return super().hidden(batch, state)
        balance = Balance(None if batch.mask_BT is None else batch.mask_BT.flatten())
        output = super().hidden(batch, None, [(balance,)] * len(self.blocks))
        count = torch.tensor(balance.tokens, device=batch.ids_BT.device)
        return output._replace(terms={BALANCE: Term(balance.loss() * count, count, self.weight)})

    def judged(self, batch: Batch, labels_BT: Tensor) -> tuple[Tensor, dict[str, Term]]:
        """What `score` gives, and the balance."""
        output = self.hidden(batch)
        return head_logprobs(self.head, output.hidden_BTD, labels_BT, self.output_VD), output.terms

    def costs(self) -> Costs:
        """The Transformer's without the experts that a token does not pass."""
        idle = sum(module.idle for module in self.modules() if isinstance(module, Mixture))
        return super().costs() + Costs(-idle, idle=idle)
