"""The steps of the compiled plan of decoders; `engine/plans/decoder.py` says when it is used.

This module imports Numba, which takes a second: it is imported when a plan is wanted.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from nextword.engine.plans.decoder import computed_type, edge_type, matrices, matrix_type, output_of
from nextword.engine.step import PlainSteps
from nextword.models.compilable import ACTIVATIONS
from nextword.models.transformer import Transformer
from nextword.nn.attention import fast_bfloat16
from nextword.nn.cache import KVCache
from nextword.nn.kernels import decoder_step as kernel
from nextword.nn.kernels import disk, threads
from nextword.nn.kernels.bits import KINDS, NAMES, address
from nextword.nn.kernels.draw import draw
from nextword.nn.kernels.lanes import LANES
from nextword.nn.norm import AboutOneRMSNorm, LayerNorm
from nextword.nn.paged import PagedCache
from nextword.nn.position.rope import Rotation
from nextword.quant.linear import QuantisedLinear
from nextword.quant.table import Coded

SINGLE = torch.empty(0, dtype=torch.float32)  # the type of angles and cache, whatever that of the weights
MOST_TOKENS = 32  # with more tokens at once a step is matrix products, which PyTorch does better
CHUNK_TOKENS = 64  # of a prompt that the kernel reads: its products then stay in the cache
CHECKED_AT_ONCE = 1 << 16  # a tensor that is not bf16 shows it early
NOWHERE = (0, 0, 0)  # the addresses of what there is not
CODES = {torch.int8, torch.uint8}


class CompiledSteps:
    """A Stepper over the model's own weights and its own KVCache.

    Long prompts and large batches go to the plain steps where those are matrix products that PyTorch is fast in; not so
    with weights of few bits, since the kernel rounds inputs and the plain steps do not: what a text gets would depend
    on how many tokens are read with it.
    Weights in bf16 are read where they lie, also those that the plain steps widen (`nn/half`). Weights in fp32 whose
    numbers all are bf16 numbers are read as bf16, from a copy, which changes no number and halves the time. It holds
    the addresses of the model's tensors: it must not outlive a change of their type, place or size.
    """

    draw = staticmethod(draw)

    def __init__(self, model: Transformer) -> None:
        self.model, self.plain = model, PlainSteps(model)
        # what addresses point to, by the tensor that it is of, held so that its id stays its own
        self.held: dict[int, tuple[Tensor, Tensor]] = {}
        self.types = types_of(model)
        self.fill_tables()
        settings, block = model.settings, model.settings.blocks[0]
        attention, ffn = block.attention, block.feedforward
        group = next((x.group for x in matrices(model.blocks[0]) if isinstance(x, QuantisedLinear)), 1)
        shift = group.bit_length() - 1
        self.sizes = (settings.width, attention.heads, ffn.ffn_width, model.vocab_size, shift)
        head_norm = attention.qk_norm or block.norm
        scale = 1.0 if settings.embedding is None else settings.embedding.scale
        if settings.embedding is not None and settings.embedding.scale_rounded:
            scale = float(torch.tensor(scale).to(computed_type(model)))
        self.numbers = tuple(np.float32(x) for x in (block.norm.epsilon, head_norm.epsilon, scale))
        activation = kernel.ACTIVATIONS.index(ACTIVATIONS[ffn.activation])
        self.flags = ("layer" in block.norm.kind, "layer" in head_norm.kind, ffn.gated, activation)
        turned = attention.rotary_width or attention.head_width
        # the model's own rotation is of the weights' type
        self.rotation = None if settings.rope is None else Rotation(settings.rope, turned)
        self.filled: KVCache | PagedCache | None = None  # whose addresses stand in the table
        self.variant = "-".join(NAMES[kind] for kind in self.types)
        self.marked = not disk.remember(kernel.decode) or disk.compiled(kernel.decode, self.variant)
        single = computed_type(model) == torch.float32  # is what the model's own step computes in
        self.fast_products = self.types[0] not in CODES and (single or fast_bfloat16())

    def fill_tables(self) -> None:
        """Writes the addresses of all weights into the kernel's tables."""
        model, blocks = self.model, self.model.blocks
        norms = [
            [self.norm_places(norm) for norm in (
                block.attention_norm, block.attention.query_norm, block.attention.key_norm, block.feedforward_norm
            )]
            for block in blocks
        ]  # fmt: skip
        parts = [[NOWHERE if one is None else self.places(one, self.types[0]) for one in matrices(b)] for b in blocks]
        layers = []
        for block in model.settings.blocks:
            a = block.attention
            layers.append((a.head_width**-0.5 if a.scale is None else a.scale, a.rotary and model.settings.rope))
        self.tables = (
            np.array(norms, dtype=np.int64),
            np.array(parts, dtype=np.int64),
            np.zeros((len(blocks), 2), np.int64),
            np.array([(scale, float(bool(turns))) for scale, turns in layers], dtype=np.float32),
        )
        positions = NOWHERE
        if model.settings.embedding is not None and model.settings.embedding.positions is not None:
            table_SD = model.embedding.positions.weight[model.settings.embedding.skipped :]
            positions = (self.keep(table_SD, torch.float32), 0, 0)
        embedding = (*self.places(model.embedding, self.types[1])[:2], 0)
        bias = 0 if model.head.bias is None else self.keep(model.head.bias, torch.float32)
        head = (*self.places(output_of(model), self.types[1])[:2], bias)
        self.edges = np.array([embedding, head, (*self.norm_places(model.norm), 0), positions], dtype=np.int64)

    def keep(self, tensor: Tensor, dtype: torch.dtype) -> int:
        """The address of a tensor's numbers as the kernel reads them; a copy where they are of another type."""
        if id(tensor) not in self.held:  # a tied head is the embedding itself
            self.held[id(tensor)] = tensor, tensor.data.to(dtype).contiguous()
        return address(self.held[id(tensor)][1])

    def keep_scales(self, scales_NG: Tensor) -> int:
        """The address of weights' scales; of a copy with zeros behind it, where the last are read beyond their end."""
        if scales_NG.shape[1] % LANES and id(scales_NG) not in self.held:
            self.held[id(scales_NG)] = scales_NG, torch.cat((scales_NG.flatten(), scales_NG.new_zeros(LANES)))
        return self.keep(scales_NG, scales_NG.dtype)

    def places(self, layer: nn.Module, dtype: torch.dtype) -> tuple[int, int, int]:
        """The addresses of a layer's matrix, of its scales and of its bias."""
        bias = layer.bias if isinstance(layer, nn.Linear | QuantisedLinear) else None
        bias_place = 0 if bias is None else self.keep(bias, torch.float32)
        if isinstance(layer, QuantisedLinear | Coded):
            return self.keep(layer.codes, layer.codes.dtype), self.keep_scales(layer.scales), bias_place
        return self.keep(layer.weight, dtype), 0, bias_place

    def norm_places(self, norm: object) -> tuple[int, int]:
        """The addresses of a norm's gain and bias in fp32."""
        if not isinstance(norm, nn.Module) or not list(norm.parameters()):
            return 0, 0
        gain = norm.weight.data.float()
        if isinstance(norm, AboutOneRMSNorm):
            gain = 1 + gain
        return self.keep(gain, torch.float32), self.keep(norm.bias, torch.float32) if isinstance(norm, LayerNorm) else 0

    def start(self, rows: int, length: int) -> KVCache:
        """An empty cache in fp32, whatever the weights: it is small beside them for one sequence."""
        return KVCache.empty(self.model.shapes, rows, length, SINGLE)

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
        return self.read(tokens_3N, last_B, state), KVCache(state.layers, lengths)

    @torch.inference_mode()
    def step(self, ids: Sequence[int], state: KVCache) -> tuple[Tensor, KVCache]:
        """Reads one token a row."""
        if len(ids) > MOST_TOKENS and self.fast_products:
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
        return self.read(np.array(places, dtype=np.int64).T, np.arange(len(places)), after), after

    def read(
        self, tokens_3N: np.ndarray, wanted: np.ndarray, state: KVCache | PagedCache, blocks: np.ndarray | None = None
    ) -> Tensor:
        """Logits (W, V) after the tokens (ids, rows, positions) at the indices `wanted`, which rise.

        blocks: which blocks of a paged cache hold each row, (B, M).
        """
        found = []
        for start in range(0, tokens_3N.shape[1], CHUNK_TOKENS):
            within = wanted[(wanted >= start) & (wanted < start + CHUNK_TOKENS)] - start
            found.append(self.run(tokens_3N[:, start : start + CHUNK_TOKENS].copy(), within, state, blocks))
        return torch.cat(found) if len(found) > 1 else found[0]

    def run(
        self, tokens_3N: np.ndarray, wanted: np.ndarray, state: KVCache | PagedCache, blocks: np.ndarray | None = None
    ) -> Tensor:
        """The same of a few tokens: one call of the kernel."""
        shape_PKSE = tuple(state.layers[0].k_BKSE.shape)
        blocks = np.arange(shape_PKSE[0])[:, None] if blocks is None else blocks
        if self.filled is None or self.filled.layers is not state.layers:
            for line, layer in zip(self.tables[2], state.layers, strict=True):
                line[:] = address(layer.k_BKSE), address(layer.v_BKSE)
        self.filled = state  # kept alive as long as its addresses are
        threads.follow_torch()
        logits_VW = kernel.decode(
            self.tables,
            self.edges,
            self.sizes,
            (shape_PKSE, blocks),
            self.numbers,
            self.flags,
            self.waves(int(tokens_3N[2].max()) + 1),
            tokens_3N,
            wanted,
            tuple(KINDS[kind] for kind in self.types),
        )
        if not self.marked:
            disk.mark(kernel.decode, self.variant)
            self.marked = True
        return torch.from_numpy(np.ascontiguousarray(logits_VW.T))  # rows whose sums take the order that one alone has

    def waves(self, length: int) -> tuple[np.ndarray, np.ndarray]:
        """Cosines and sines of the first positions; empty where nothing turns."""
        if self.rotation is None:
            return np.empty((0, 0), np.float32), np.empty((0, 0), np.float32)
        cos_SE, sin_SE = self.rotation.table(length, SINGLE)
        return cos_SE.numpy(), sin_SE.numpy()


def is_bfloat16(weight: Tensor) -> bool:
    """Whether all numbers of a tensor are bf16 numbers: the lower half of their 32 bits is empty."""
    if weight.dtype == torch.bfloat16:
        return True
    bits = weight.data.contiguous().view(torch.int32).flatten()
    return all(not bool((part & 0xFFFF).any()) for part in bits.split(CHECKED_AT_ONCE))


def types_of(model: Transformer) -> tuple[torch.dtype, torch.dtype]:
    """What the kernel reads the layers' matrices as, and embedding and head."""
    layers = [layer for block in model.blocks for layer in matrices(block) if layer is not None]
    return kernel_type(matrix_type(model), layers), kernel_type(
        edge_type(model) or torch.float32, [model.embedding, output_of(model)]
    )


def kernel_type(kind: torch.dtype, layers: Sequence[nn.Module]) -> torch.dtype:
    """The type itself; bf16 in place of fp32 where all numbers are numbers of bf16."""
    if kind == torch.float32 and all(is_bfloat16(layer.weight) for layer in layers):
        return torch.bfloat16
    return kind


def ready(model: Transformer) -> bool:
    """Whether the machine code that the model needs lies on the disk."""
    return disk.compiled(kernel.decode, "-".join(NAMES[kind] for kind in types_of(model)))
