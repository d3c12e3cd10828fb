"""The transformer as decoder or encoder: embedding, a stack of blocks, scores over the vocabulary.

One class serves every family: what differs stands in typed descriptions, which a family writes from its config.
(Vaswani et al., "Attention Is All You Need", 2017; a decoder alone: Radford et al., 2018; an encoder alone: Devlin et
al., "BERT", 2019.) The state of a decoder between calls is the KV cache; an encoder has none.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from nextword.core.errors import SettingsError
from nextword.models.base import Batch, Output, refuse
from nextword.models.costs import Costs
from nextword.models.heads import FurtherHeadSettings, make_heads
from nextword.models.scores import head_logprobs
from nextword.models.stack import Places, Stack, StackSettings
from nextword.nn.block import Source
from nextword.nn.cache import KVCache
from nextword.nn.embedding import EmbeddingSettings, make_embedding
from nextword.nn.head import Head, HeadSettings, NoHead
from nextword.nn.paged import PagedCache

# the first name of a parameter within the model or block -> what it is counted as
PARTS = {
    "embedding": "embedding",
    "attention": "attention",
    "cross": "cross-attention",
    "feedforward": "feed-forward",
    "attention_norm": "norms",
    "cross_norm": "norms",
    "feedforward_norm": "norms",
    "attention_output_norm": "norms",
    "feedforward_output_norm": "norms",
    "norm": "norms",
    "bias": "positions",
    "head": "output",
    "heads": "other heads",
}


@dataclass(frozen=True, kw_only=True)
class TransformerSettings(StackSettings):
    """A whole decoder or encoder: sizes, the description of every block, and what stands around them.

    tied: the output matrix is the embedding. max_length: the positions it was made for. embedding: what is added to the
    tokens' vectors. output: whether there are scores over the vocabulary. heads: further ones (`models.heads`).
    """

    vocab_size: int
    width: int
    max_length: int | None
    tied: bool
    kind: str = "decoder"
    embedding: EmbeddingSettings | None = None
    head: HeadSettings = HeadSettings()
    output: bool = True
    heads: tuple[FurtherHeadSettings, ...] = ()


class Transformer(Stack):
    """Ids in; a decoder gives for each position what predicts the next token, an encoder what stands there itself.

    A LanguageModel. `heads`: modules by name that read hidden_BTD.
    """

    PARTS: ClassVar[dict[str, str]] = PARTS

    def __init__(self, settings: TransformerSettings, config: dict[str, Any]) -> None:
        super().__init__(settings)
        self.config, self.kind = config, settings.kind
        self.vocab_size, self.max_length = settings.vocab_size, settings.max_length
        self.embedding = make_embedding(settings.vocab_size, settings.width, settings.embedding)
        self.head = make_head(settings)
        self.heads = make_heads(settings.heads)

    @property
    def output_VD(self) -> Tensor:
        """The matrix whose product with a hidden vector scores every token: the head's, or the embedding where tied."""
        own_VD = self.head.weight
        return self.embedding.weight if own_VD is None else own_VD

    def start(self, rows: int, length: int) -> KVCache:
        """Empty caches for `rows` sequences of up to `length` tokens (they grow if that was too few)."""
        if self.kind == "encoder":
            raise SettingsError("an encoder sees both sides of a gap and reads texts whole: it cannot continue one")
        return self.empty(rows, length, self.embedding.like)

    def hidden(
        self, batch: Batch, state: KVCache | None = None, sources: Sequence[Source | None] | None = None
    ) -> Output:
        """hidden_BTD after the last norm; with a state, the tokens follow those that it holds.

        sources: what blocks of some arrangements are given beside the stream, one for each layer.
        """
        refuse(batch, f"this {self.kind}", types=not self.embedding.typed)
        if state is None:
            after, places = None, self.places(batch)
        else:
            after, places = self.advance(batch, state)
        return Output(self.through(batch, places, after, sources), after)

    def through(
        self,
        batch: Batch,
        places: Places,
        cache: KVCache | PagedCache | None = None,
        sources: Sequence[Source | None] | None = None,
    ) -> Tensor:
        """hidden_BTD of tokens at known places; `cache` is the state after this call."""
        x_BTD = self.embedding.read(batch.ids_BT, places.positions_BT, places.longest, batch.types_BT)
        return self.run(x_BTD, batch, places, cache, sources)

    def logits(self, hidden_ND: Tensor) -> Tensor:
        """Scores over the vocabulary, fp32, (N, V)."""
        return self.head(hidden_ND, self.output_VD)

    def score(self, batch: Batch, labels_BT: Tensor) -> Tensor:
        """log p(label | hidden at its position), fp32, (B, T); 0 where the label is -100."""
        return head_logprobs(self.head, self.hidden(batch).hidden_BTD, labels_BT, self.output_VD)

    def costs(self) -> Costs:
        """The stack's, and the output's matrices."""
        inner = [w for w in self.head.parameters() if w.dim() > 1 and w is not self.output_VD]
        matrices = [self.output_VD, *inner] if self.settings.output else []
        return super().costs() + Costs(sum(w.numel() for w in matrices) + self.embedding.multiplied)

    def initialise(self, std: float, generator: torch.Generator) -> None:
        """Draws all weights anew, see `nextword.nn.init`."""
        self.embedding.initialise(std, generator)
        self.draw(std, generator)
        self.head.initialise(std, generator)
        for head in self.heads.values():
            head.initialise(std, generator)


def make_head(settings: TransformerSettings) -> Head | NoHead:
    """The output over the vocabulary; without one, what says which heads there are instead."""
    if settings.output:
        return Head(settings.head, settings.width, settings.vocab_size, settings.tied)
    instead = ", ".join(head.name for head in settings.heads)
    return NoHead(f"it has {instead or 'the vectors of tokens'} instead (its architecture in config.json)")
