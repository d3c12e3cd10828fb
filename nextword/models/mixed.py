"""A decoder made to learn fast: what can be looked up is looked up, and every layer sees it.

    x₀ = norm(E[w_t] + Σ_n G_n[n-gram that ends at t])
    x  = x₀;  for each layer:  x ← a x + b x₀;  x ← x + attention(norm(x), U[w]);  x ← x + feedforward(norm(x))

Tables hold what tokens and n-grams say by themselves (`nextword.nn.ngrams`, `nextword.nn.valued`), so that the layers,
whose products are what costs time, are left with what depends on the context. Each part may be left out.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn

from nextword.models.base import Batch, Output, refuse
from nextword.models.costs import Costs
from nextword.models.read_state import ReadState, extended, nothing_read
from nextword.models.transformer import PARTS, Transformer, TransformerSettings
from nextword.nn.init import empty_embedding, normal, zeros
from nextword.nn.ngrams import NgramEmbedding
from nextword.nn.norm import NormSettings, make_norm

ID_BYTES = 8  # of an id that the state keeps


@dataclass(frozen=True, kw_only=True)
class MixedSettings(TransformerSettings):
    """A Transformer with tables beside its layers.

    first_norm: on what enters the first block. orders, buckets: of the n-gram tables (no orders: none). valued: the
    layers whose attention is given values of the token itself.
    """

    first_norm: NormSettings
    orders: tuple[int, ...] = ()
    buckets: int = 0
    valued: tuple[int, ...] = ()


class MixedTransformer(Transformer):
    """Ids in; position t of hidden_BTD is what predicts the token after t. A LanguageModel."""

    PARTS: ClassVar[dict[str, str]] = PARTS | {
        "ngrams": "n-grams", "values": "value embeddings", "first_norm": "norms", "mix": "mixing",
    }  # fmt: skip

    def __init__(self, settings: MixedSettings, config: dict[str, Any]) -> None:
        super().__init__(settings, config)
        self.first_norm = make_norm(settings.first_norm)
        self.ngrams = None
        if settings.orders:
            self.ngrams = NgramEmbedding(settings.orders, settings.buckets, settings.vocab_size, settings.width)
        attention = settings.blocks[0].attention
        width = attention.kv_heads * attention.head_width
        self.values = nn.ModuleDict({str(n): empty_embedding(settings.vocab_size, width) for n in settings.valued})

    def start(self, rows: int, length: int) -> ReadState:  # noqa: D102 - as Transformer's
        return nothing_read(super().start(rows, length))

    def hidden(self, batch: Batch, state: ReadState | None = None) -> Output:
        """hidden_BTD after the last norm; with a state, the tokens follow those that it holds."""
        refuse(batch, f"this {self.kind}")
        if state is None:
            places, after = self.places(batch), None
            history_BS, places_BT = batch.ids_BT, torch.arange(batch.ids_BT.shape[1], device=batch.ids_BT.device)[None]
            cache = None
        else:
            cache, places = self.advance(batch, state.cache)
            places_BT = places.view.positions_BT
            history_BS = extended(state.ids_BS, batch.ids_BT, places_BT, places.view.span)
            after = ReadState(cache, history_BS)
        first_BTD = self.embedding(batch.ids_BT)
        if self.ngrams is not None:
            first_BTD = first_BTD + self.ngrams(history_BS, places_BT, places.positions_BT)
        first_BTD = self.first_norm(first_BTD)
        sources = [(first_BTD,) for _ in self.blocks]
        for layer, table in self.values.items():
            sources[int(layer)] += (table(batch.ids_BT),)
        return Output(self.run(first_BTD, batch, places, cache, sources), after)

    def costs(self) -> Costs:
        """The Transformer's; the state keeps ids, too."""
        return super().costs() + Costs(0, state_bytes_per_token=ID_BYTES)

    def initialise(self, std: float, generator: torch.Generator) -> None:
        """Draws all weights anew; n-grams and an output of its own start at 0, an embedding that is normed at 1."""
        super().initialise(std, generator)
        self.first_norm.initialise()
        if self.ngrams is not None:
            self.ngrams.initialise()
        for table in self.values.values():
            normal(table.weight, std, generator)
        if self.head.weight is not None:
            normal(self.embedding.weight, 1.0, generator)
            zeros(self.head.weight)
