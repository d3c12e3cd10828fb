"""The encoder-decoder: one stack reads a source, another writes a text and asks the source at every layer.

Vaswani et al., "Attention Is All You Need" (2017); Raffel et al., "T5" (2020). Translation, summaries and filled gaps
are all "source in, text out".

The state of a generation is what the source left, its keys and values in every layer, computed once when the first
batch brings the source, and the decoder's own KV cache.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from nextword.core.errors import SettingsError
from nextword.models.base import Batch, Output, refuse, refuse_packed
from nextword.models.costs import Costs
from nextword.models.scores import head_logprobs
from nextword.models.stack import Places, Stack, StackSettings
from nextword.models.transformer import PARTS
from nextword.nn.cache import KVCache, LayerCache
from nextword.nn.embedding import EmbeddingSettings, Entry, make_embedding
from nextword.nn.head import Head, HeadSettings
from nextword.nn.mask import ALL, Sight, padding


@dataclass(frozen=True, kw_only=True)
class EncoderDecoderSettings:
    """Both stacks, whose decoder blocks have a cross-attention, and what they share: embedding and output.

    entry: what each half puts around the shared vectors on its own, such as positions that it learns (BART).
    """

    vocab_size: int
    width: int
    max_length: int | None
    encoder: StackSettings
    decoder: StackSettings
    tied: bool
    embedding: EmbeddingSettings | None = None
    entry: EmbeddingSettings | None = None
    head: HeadSettings = HeadSettings()


@dataclass(frozen=True)
class Source:
    """A source that was read: its keys and values by layer, which of its places are real, and its documents."""

    layers: list[LayerCache]
    mask_BS: Tensor | None
    segments_BS: Tensor | None = None

    def sight(self, segments_BT: Tensor | None) -> Sight:
        """What the decoder sees of it: all that is real, and in packed rows only what has the same number."""
        if segments_BT is None or self.segments_BS is None:
            return ALL if self.mask_BS is None else Sight(mask=padding(self.mask_BS)[:, None])
        seen_BTS = segments_BT[..., None] == self.segments_BS[:, None]
        if self.mask_BS is not None:
            seen_BTS = seen_BTS & self.mask_BS[:, None]
        return Sight(mask=(seen_BTS | ~seen_BTS.any(-1, keepdim=True))[:, None])  # padding may see anything

    def select(self, rows: Tensor) -> "Source":
        """A copy of the given rows."""
        layers = [LayerCache(layer.k_BKSE[rows], layer.v_BKSE[rows]) for layer in self.layers]
        return Source(layers, None if self.mask_BS is None else self.mask_BS[rows])


class EncoderDecoderState:
    """The decoder's cache and the source, which is None until the first batch brings it."""

    def __init__(self, cache: KVCache, source: Source | None) -> None:
        self.cache, self.source = cache, source

    @property
    def lengths_B(self) -> Tensor:
        """The tokens that each row of the decoder has read."""
        return self.cache.lengths_B

    def select(self, rows: Tensor) -> "EncoderDecoderState":
        """A copy of the given rows, in their order."""
        return EncoderDecoderState(self.cache.select(rows), None if self.source is None else self.source.select(rows))

    def crop(self, lengths_B: Tensor) -> "EncoderDecoderState":
        """The state after the first `lengths_B` tokens of each row of the decoder; the source stays."""
        return EncoderDecoderState(self.cache.crop(lengths_B), self.source)

    def fork(self, row: int, count: int) -> "EncoderDecoderState":
        """`count` copies of one row."""
        return self.select(torch.full((count,), row, dtype=torch.int64, device=self.lengths_B.device))


class EncoderDecoder(nn.Module):
    """A source and the beginning of a text in, for each position of the text what predicts the next token out.

    A LanguageModel: `Batch.source` is read whenever there is no state or the state has none yet.
    """

    kind: ClassVar[str] = "encoder-decoder"
    PARTS: ClassVar[dict[str, str]] = PARTS | {"entries": "embedding"}

    def __init__(self, settings: EncoderDecoderSettings, config: dict[str, Any]) -> None:
        super().__init__()
        self.settings, self.config = settings, config
        self.vocab_size, self.max_length = settings.vocab_size, settings.max_length
        self.embedding = make_embedding(settings.vocab_size, settings.width, settings.embedding)
        self.entries = nn.ModuleDict()
        if settings.entry is not None:
            self.entries.update({half: Entry(settings.width, settings.entry) for half in ("encoder", "decoder")})
        self.encoder, self.decoder = Stack(settings.encoder), Stack(settings.decoder)
        self.head = Head(settings.head, settings.width, settings.vocab_size, settings.tied)

    @property
    def output_VD(self) -> Tensor:
        """The matrix whose product with a hidden vector scores every token: the head's, or the embedding where tied."""
        own_VD = self.head.weight
        return self.embedding.weight if own_VD is None else own_VD

    def start(self, rows: int, length: int) -> EncoderDecoderState:
        """Empty caches for `rows` texts of up to `length` tokens, and no source."""
        return EncoderDecoderState(self.decoder.empty(rows, length, self.embedding.like), None)

    def embed(self, half: str, batch: Batch, places: Places) -> Tensor:
        """x_BTD, what a half of the model reads first."""
        x_BTD = self.embedding.read(batch.ids_BT, places.positions_BT, places.longest, None)
        return self.entries[half](x_BTD, places.positions_BT, places.longest) if self.entries else x_BTD

    def encode(self, source: Batch) -> Tensor:
        """hidden_BSD of a source: what the encoder makes of it."""
        refuse(source, "an encoder-decoder")
        places = self.encoder.places(source)
        x_BSD = self.embed("encoder", source, places)
        return self.encoder.run(x_BSD, source, places)

    def read(self, source: Batch | None) -> Source:
        """The keys and values that every layer of the decoder asks for; SettingsError without a source."""
        if source is None:
            raise SettingsError("an encoder-decoder writes about a source: give one (Batch.source)")
        hidden_BSD = self.encode(source)
        layers = [block.cross.read(hidden_BSD) for block in self.decoder.blocks]
        return Source(layers, source.mask_BT, source.segments_BT)

    def hidden(self, batch: Batch, state: EncoderDecoderState | None = None) -> Output:
        """hidden_BTD of the decoder; with a state, the tokens follow those that it holds."""
        refuse(batch, "an encoder-decoder", source=False)
        if state is None:
            return Output(self.decode(batch, self.read(batch.source)))
        if state.source is not None and batch.source is not None:
            raise SettingsError("this state has read its source: begin with a new one (start) for another source")
        if batch.source is not None:
            refuse_packed(batch.source)
        source = state.source or self.read(batch.source)
        after, places = self.decoder.advance(batch, state.cache)
        x_BTD = self.embed("decoder", batch, places)
        asked = self.asked(source, batch)
        return Output(self.decoder.run(x_BTD, batch, places, after, asked), EncoderDecoderState(after, source))

    def decode(self, batch: Batch, source: Source) -> Tensor:
        """hidden_BTD of whole texts."""
        places = self.decoder.places(batch)
        x_BTD = self.embed("decoder", batch, places)
        return self.decoder.run(x_BTD, batch, places, sources=self.asked(source, batch))

    def asked(self, source: Source, batch: Batch) -> list[tuple[LayerCache, Sight]]:
        """For each layer what the source offers, and what may be seen of it."""
        sight = source.sight(batch.segments_BT)
        return [(layer, sight) for layer in source.layers]

    def logits(self, hidden_ND: Tensor) -> Tensor:
        """Scores over the vocabulary, fp32, (N, V)."""
        return self.head(hidden_ND, self.output_VD)

    def score(self, batch: Batch, labels_BT: Tensor) -> Tensor:
        """log p(label | source, ids up to and with its position), fp32, (B, T); 0 where the label is -100."""
        return head_logprobs(self.head, self.hidden(batch).hidden_BTD, labels_BT, self.output_VD)

    def costs(self) -> Costs:
        """Of a token of the source and one of the text together."""
        return self.encoder.costs() + self.decoder.costs() + Costs(self.output_VD.numel())

    def initialise(self, std: float, generator: torch.Generator) -> None:
        """Draws all weights anew, see `nextword.nn.init`."""
        self.embedding.initialise(std, generator)
        for entry in self.entries.values():
            entry.initialise(std, generator)
        self.encoder.draw(std, generator)
        self.decoder.draw(std, generator)
        self.head.initialise(std, generator)
