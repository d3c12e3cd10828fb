"""The recurrent language model: embedding, LSTM layers, scores over the vocabulary.

Mikolov et al., "Recurrent neural network based language model" (2010), with LSTM layers as in Sundermeyer et al. (2012)
and the output matrix tied to the embedding as in Press & Wolf (2017). It reads texts of any length at constant cost a
token.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nextword.models.base import Batch, Output, refuse, refuse_packed
from nextword.models.costs import Costs
from nextword.models.scores import label_logprobs
from nextword.nn import segments
from nextword.nn.init import empty_embedding, normal
from nextword.nn.recurrent import LSTMState, Recurrence, RecurrentSettings


@dataclass(frozen=True)
class RecurrentModelSettings:
    """A recurrent language model; tied: the output matrix is the embedding."""

    vocab_size: int
    recurrence: RecurrentSettings
    tied: bool


class RecurrentModel(nn.Module):
    """Ids in, for each position what predicts the next token out. A LanguageModel."""

    PARTS: ClassVar[dict[str, str]] = {"embedding": "embedding", "recurrence": "recurrence", "head": "output"}
    kind: ClassVar[str] = "decoder"
    max_length: int | None = None

    def __init__(self, settings: RecurrentModelSettings, config: dict[str, Any]) -> None:
        super().__init__()
        self.settings, self.config, self.vocab_size = settings, config, settings.vocab_size
        width = settings.recurrence.width
        self.embedding = empty_embedding(settings.vocab_size, width)
        self.recurrence = Recurrence(settings.recurrence)
        self.head = None if settings.tied else nn.Linear(width, settings.vocab_size, bias=False)

    @property
    def output_VD(self) -> Tensor:
        """The matrix whose product with a hidden vector scores every token: the head's, or the embedding where tied."""
        return self.embedding.weight if self.head is None else self.head.weight

    def start(self, rows: int, length: int) -> LSTMState:
        """The state that has read nothing; its size does not depend on `length`."""
        return self.recurrence.start(rows, self.embedding.weight)

    def hidden(self, batch: Batch, state: LSTMState | None = None) -> Output:
        """hidden_BTD, h of the last layer; with a state, the tokens follow those that it has read."""
        refuse(batch, "an LSTM")
        x_BTD = self.drop(self.embedding(batch.ids_BT))
        if batch.segments_BT is not None:
            return self.packed(x_BTD, batch, state)
        begin = self.recurrence.start(len(x_BTD), x_BTD) if state is None else state
        h_BTD, after = self.recurrence(x_BTD, begin, batch.mask_BT)
        return Output(self.drop(h_BTD), None if state is None else after)

    def packed(self, x_BTD: Tensor, batch: Batch, state: LSTMState | None) -> Output:
        """Packed rows: each document becomes a row of its own, so that the memory is empty where it begins."""
        if state is not None:
            refuse_packed(batch)
        number_BT, place_BT, mask_NS = segments.unpack(batch.segments_BT, batch.mask_BT)
        x_NSD = x_BTD.new_zeros(*mask_NS.shape, x_BTD.shape[-1]).index_put((number_BT, place_BT), x_BTD)
        h_NSD, _ = self.recurrence(x_NSD, self.recurrence.start(len(x_NSD), x_NSD), mask_NS)
        return Output(self.drop(h_NSD[number_BT, place_BT]))

    def drop(self, x_BTD: Tensor) -> Tensor:
        """Dropout while training, on what goes into and comes out of the layers."""
        return F.dropout(x_BTD, self.settings.recurrence.dropout, self.training)

    def logits(self, hidden_ND: Tensor) -> Tensor:
        """Scores over the vocabulary, fp32, (N, V)."""
        return F.linear(hidden_ND, self.output_VD).float()

    def score(self, batch: Batch, labels_BT: Tensor) -> Tensor:
        """log p(label | ids up to and with its position), fp32, (B, T); 0 where the label is -100."""
        return label_logprobs(self.hidden(batch).hidden_BTD, labels_BT, self.output_VD)

    def initialise(self, std: float, generator: torch.Generator) -> None:
        """Draws all weights anew: embedding and output N(0, std²), the layers as `Recurrence.initialise` says."""
        normal(self.embedding.weight, std, generator)
        self.recurrence.initialise(generator)
        if self.head is not None:
            normal(self.head.weight, std, generator)

    def costs(self) -> Costs:
        """Every matrix is used once a token; the state is h and c of each layer."""
        sizes = self.settings.recurrence
        layer = 8 * sizes.width**2  # four gates, each W and U
        return Costs(layer * sizes.depth + self.output_VD.numel(), state_fixed=2 * sizes.depth * sizes.width)
