"""The transformer decoder: embedding, a loop over blocks, a last norm, scores over the vocabulary.

One stack serves every family: what differs from layer to layer stands in typed block descriptions, which a family
writes from its config. (Vaswani et al., "Attention Is All You Need", 2017; decoder-only and pre-norm as in Touvron et
al., "LLaMA", 2023.) The state between calls is the KV cache.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nextword.models.base import Batch, Output
from nextword.models.costs import Costs
from nextword.models.scores import label_logprobs
from nextword.nn.block import Block, BlockSettings
from nextword.nn.cache import KVCache
from nextword.nn.init import empty_embedding, normal, residual_std
from nextword.nn.norm import NormSettings, RMSNorm
from nextword.nn.position.rope import RopeSettings, Rotation


@dataclass(frozen=True)
class TransformerSettings:
    """A whole decoder: sizes, positions, and the description of every block.

    tied: the output matrix is the embedding. max_length: the positions it was made for.
    """

    vocab_size: int
    width: int
    max_length: int
    blocks: tuple[BlockSettings, ...]
    norm: NormSettings
    rope: RopeSettings
    tied: bool


class Transformer(nn.Module):
    """A decoder: ids in, for each position what predicts the next token out. A LanguageModel."""

    PARTS: ClassVar[
        dict[str, str]
    ] = {  # the first name of a parameter within the model or block -> what it is counted as
        "embedding": "embedding",
        "attention": "attention",
        "feedforward": "feed-forward",
        "attention_norm": "norms",
        "feedforward_norm": "norms",
        "norm": "norms",
        "head": "output",
    }

    kind: ClassVar[str] = "decoder"

    def __init__(self, settings: TransformerSettings, config: dict[str, Any]) -> None:
        super().__init__()
        self.settings, self.config = settings, config
        self.vocab_size, self.max_length = settings.vocab_size, settings.max_length
        self.embedding = empty_embedding(settings.vocab_size, settings.width)
        self.blocks = nn.ModuleList(Block(block) for block in settings.blocks)
        self.norm = RMSNorm(settings.norm)
        self.head = None if settings.tied else nn.Linear(settings.width, settings.vocab_size, bias=False)
        self.rotation = Rotation(settings.rope, settings.blocks[0].attention.head_width)

    @property
    def output_VD(self) -> Tensor:
        """The matrix whose product with a hidden vector scores every token: the head's, or the embedding where tied."""
        return self.embedding.weight if self.head is None else self.head.weight

    def start(self, rows: int, length: int) -> KVCache:
        """Empty caches for `rows` sequences of up to `length` tokens (they grow if that was too few)."""
        shapes = [(block.attention.kv_heads, block.attention.head_width) for block in self.settings.blocks]
        return KVCache.empty(shapes, rows, length, self.embedding.weight)

    def hidden(self, batch: Batch, state: KVCache | None = None) -> Output:
        """hidden_BTD after the last norm; with a state, the tokens follow those that it holds."""
        if state is not None:
            return self.advance(batch, state)
        x_BTD = self.embedding(batch.ids_BT)
        turn = self.turn(batch, x_BTD)
        for block in self.blocks:
            x_BTD = block(x_BTD, turn)
        return Output(self.norm(x_BTD))

    def advance(self, batch: Batch, state: KVCache) -> Output:
        """`hidden` with a state."""
        x_BTD = self.embedding(batch.ids_BT)
        rows, time, _ = x_BTD.shape
        counts = [time] * rows if batch.mask_BT is None else batch.mask_BT.sum(1).tolist()
        after, view = state.advance(time, counts)
        alike = view.even and not self.rotation.stretches(view.span)  # then one row's rotation serves all
        kinds = slice(1) if alike else slice(None)
        cos, sin = self.rotation.at(view.positions_BT[kinds], view.span, after.lengths_B[kinds], x_BTD)
        turn = cos[:, None], sin[:, None]
        for block, cache in zip(self.blocks, after.layers, strict=True):
            x_BTD = block(x_BTD, turn, view, cache)
        return Output(self.norm(x_BTD), after)

    def turn(self, batch: Batch, x_BTD: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines and sines of the positions 0 .. T-1 of rows that are read without a state."""
        time = x_BTD.shape[1]
        if not self.rotation.stretches(time):
            return self.rotation.table(time, x_BTD)
        positions_1T = torch.arange(time, device=x_BTD.device)[None]
        lengths_B = torch.tensor([time], device=x_BTD.device) if batch.mask_BT is None else batch.mask_BT.sum(1)
        cos, sin = self.rotation.at(positions_1T, time, lengths_B, x_BTD)
        return cos[:, None], sin[:, None]

    def logits(self, hidden_ND: Tensor) -> Tensor:
        """Scores over the vocabulary, fp32, (N, V)."""
        return F.linear(hidden_ND, self.output_VD).float()

    def score(self, batch: Batch, labels_BT: Tensor) -> Tensor:
        """log p(label | ids up to and with its position), fp32, (B, T); 0 where the label is -100."""
        return label_logprobs(self.hidden(batch).hidden_BTD, labels_BT, self.output_VD)

    def costs(self) -> Costs:
        """Matrices of the blocks and the output; attention's two products for each key seen; the cache."""
        matrices = sum(w.numel() for block in self.blocks for w in block.parameters() if w.dim() > 1)
        attentions = [block.attention for block in self.settings.blocks]
        return Costs(
            matrices=matrices + self.output_VD.numel(),
            flops_per_key=sum(4 * a.heads * a.head_width for a in attentions),
            state_per_token=sum(2 * a.kv_heads * a.head_width for a in attentions),
        )

    def initialise(self, std: float, generator: torch.Generator) -> None:
        """Draws all weights anew, see `nextword.nn.init`."""
        normal(self.embedding.weight, std, generator)
        output_std = residual_std(std, len(self.blocks))
        for block in self.blocks:
            block.initialise(std, output_std, generator)
        nn.init.ones_(self.norm.weight)
        if self.head is not None:
            normal(self.head.weight, std, generator)
