"""The steps of the compiled plan of Llama-shaped decoders; `engine/plans/llama.py` says when it is used.

This module imports Numba, which takes a second: it is imported when a plan is wanted.
"""

from collections.abc import Sequence

import numba
import numpy as np
import torch
from torch import Tensor

from nextword.engine.step import PlainSteps
from nextword.models.transformer import Transformer
from nextword.nn.attention import fast_bfloat16
from nextword.nn.block import Block
from nextword.nn.cache import KVCache
from nextword.nn.kernels import disk
from nextword.nn.kernels.bits import KINDS, address
from nextword.nn.kernels.llama_step import decode
from nextword.nn.position.rope import Rotation

SINGLE = torch.empty(0, dtype=torch.float32)  # the type of angles and cache, whatever that of the weights
MOST_TOKENS = 32  # with more tokens at once a step is matrix products, which PyTorch does better
CHUNK_TOKENS = 64  # of a prompt that the kernel reads: its products then stay in the cache
CHECKED_AT_ONCE = 1 << 16  # a tensor that is not bf16 shows it early


class CompiledSteps:
    """A Stepper over the model's own weights and its own KVCache.

    Long prompts and large batches go to the plain steps where those are matrix products that PyTorch is fast in.
    Weights in fp32 whose numbers all are bf16 numbers (a bf16 checkpoint that was widened to be computed with) are
    read as bf16, from a copy, which changes no number and halves the time. It holds the addresses of the model's
    tensors: it must not outlive a change of their type, place or size.
    """

    def __init__(self, model: Transformer) -> None:
        self.model, self.plain = model, PlainSteps(model)
        weights = list(model.parameters())
        narrow = all(map(is_bfloat16, weights))
        # held, so that the addresses stay good; a tied head is the embedding itself
        self.tensors = {id(weight): weight.data.bfloat16() if narrow else weight.data for weight in weights}
        attention, ffn_width = model.settings.blocks[0].attention, model.settings.blocks[0].feedforward.ffn_width
        self.table = np.array(
            [[*map(self.place, layer_weights(block)), 0, 0] for block in model.blocks], dtype=np.int64
        )
        ends = (model.embedding.weight, model.norm.weight, model.output_VD)
        self.ends = np.array([self.place(weight) for weight in ends], dtype=np.int64)
        self.sizes = (model.settings.width, attention.heads, ffn_width, model.vocab_size)
        self.kind = KINDS[torch.bfloat16 if narrow else torch.float32]
        self.rotation = Rotation(model.settings.rope, attention.head_width)  # the model's own is of the weights' type
        self.filled: KVCache | None = None  # whose addresses stand in the table
        self.variant = variant(narrow)
        self.marked = not disk.remember(decode) or disk.compiled(decode, self.variant)
        self.fast_products = weights[0].dtype == torch.float32 or fast_bfloat16()

    def place(self, weight: Tensor) -> int:
        """The address of a weight's numbers as the kernel reads them."""
        return address(self.tensors[id(weight)])

    def start(self, rows: int, length: int) -> KVCache:
        """An empty cache in fp32, whatever the weights: it is small beside them for one sequence."""
        shapes = [(block.attention.kv_heads, block.attention.head_width) for block in self.model.settings.blocks]
        return KVCache.empty(shapes, rows, length, SINGLE)

    @torch.inference_mode()
    def prefill(
        self, rows: Sequence[Sequence[int]], length: int, sources: Sequence[Sequence[int]] | None = None
    ) -> tuple[Tensor, KVCache]:
        """Reads the prompts; logits after the last token of each. A decoder has no `sources`."""
        lengths = [len(row) for row in rows]
        state = self.start(len(rows), max(length, *lengths))
        if sum(lengths) > MOST_TOKENS and self.fast_products:
            return self.plain.read(rows, state)  # type: ignore[return-value]
        places = [(number, slot, place) for slot, row in enumerate(rows) for place, number in enumerate(row)]
        tokens_3N, last_B = np.array(places, dtype=np.int64).T, np.cumsum(lengths) - 1
        logits_BV = []
        for start in range(0, len(places), CHUNK_TOKENS):
            wanted = last_B[(last_B >= start) & (last_B < start + CHUNK_TOKENS)] - start
            logits_BV.append(self.run(tokens_3N[:, start : start + CHUNK_TOKENS].copy(), wanted, state))
        return torch.cat(logits_BV), KVCache(state.layers, lengths)

    @torch.inference_mode()
    def step(self, ids: Sequence[int], state: KVCache) -> tuple[Tensor, KVCache]:
        """Reads one token a row."""
        if len(ids) > MOST_TOKENS and self.kind is not KINDS[torch.bfloat16]:
            return self.plain.step(ids, state)  # type: ignore[return-value]
        after = KVCache(state.layers, [length + 1 for length in state.lengths])
        if max(after.lengths) > state.capacity:
            after, _ = state.advance(1, [1] * len(ids))
        tokens_3N = np.array([ids, range(len(ids)), state.lengths], dtype=np.int64)
        return self.run(tokens_3N, tokens_3N[1], after), after

    @torch.inference_mode()
    def extend(self, rows: Sequence[Sequence[int]], state: KVCache) -> tuple[Tensor, KVCache]:
        """Reads a few tokens, as many as each row has; logits after every one."""
        counts = [len(row) for row in rows]
        if sum(counts) > MOST_TOKENS and self.fast_products:
            return self.plain.extend(rows, state)  # type: ignore[return-value]
        after = KVCache(state.layers, [old + new for old, new in zip(state.lengths, counts, strict=True)])
        if max(after.lengths) > state.capacity:
            after, _ = state.advance(max(counts), counts)
        places = [
            (number, slot, begin + place)
            for slot, (row, begin) in enumerate(zip(rows, state.lengths, strict=True))
            for place, number in enumerate(row)
        ]
        return self.run(np.array(places, dtype=np.int64).T.copy(), np.arange(len(places)), after), after

    def run(self, tokens_3N: np.ndarray, wanted: np.ndarray, state: KVCache) -> Tensor:
        """One call of the kernel: logits (W, V) after the tokens (ids, rows, positions) at the indices `wanted`."""
        if self.filled is None or self.filled.layers is not state.layers:
            for line, layer in zip(self.table, state.layers, strict=True):
                line[9:] = address(layer.k_BKSE), address(layer.v_BKSE)
        self.filled = state  # kept alive as long as its addresses are
        cos_SE, sin_SE = self.rotation.table(int(tokens_3N[2].max()) + 1, SINGLE)
        numba.set_num_threads(min(torch.get_num_threads(), numba.config.NUMBA_NUM_THREADS))
        logits_VW = decode(
            self.table,
            self.ends,
            self.sizes,
            tuple(state.layers[0].k_BKSE.shape),
            self.model.settings.norm.epsilon,
            (cos_SE.numpy(), sin_SE.numpy()),
            tokens_3N,
            wanted,
            self.kind,
        )
        if not self.marked:
            disk.mark(decode, self.variant)
            self.marked = True
        return torch.from_numpy(logits_VW.T)


def layer_weights(block: Block) -> list[Tensor]:
    """The weights of a layer in the order of the kernel's COLUMNS."""
    attention, feedforward = block.attention, block.feedforward
    return [
        block.attention_norm.weight,
        *(part.weight for part in (attention.query, attention.key, attention.value, attention.output)),
        block.feedforward_norm.weight,
        *(part.weight for part in (feedforward.gate, feedforward.up, feedforward.down)),
    ]


def is_bfloat16(weight: Tensor) -> bool:
    """Whether all numbers of a tensor are bf16 numbers: the lower half of their 32 bits is empty."""
    if weight.dtype == torch.bfloat16:
        return True
    bits = weight.data.view(torch.int32).flatten()
    return all(not bool((part & 0xFFFF).any()) for part in bits.split(CHECKED_AT_ONCE))


def variant(narrow: bool) -> str:
    """The name of the compiled variant that reads bf16 weights, or fp32."""
    return "bf16" if narrow else "fp32"


def ready(model: Transformer) -> bool:
    """Whether the machine code that the model needs lies on the disk."""
    return disk.compiled(decode, variant(all(map(is_bfloat16, model.parameters()))))
