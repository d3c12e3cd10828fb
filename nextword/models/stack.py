"""The blocks of a transformer with what all of them share: the positions, who sees whom, and a last norm.

A decoder, an encoder and both halves of an encoder-decoder are this one loop; what differs from layer to layer stands
in typed block descriptions, which a family writes from its config.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nextword.core.errors import SettingsError
from nextword.models.base import Batch, refuse_packed
from nextword.models.costs import Costs, Near
from nextword.nn import flexible, segments
from nextword.nn.attention import AttentionSettings
from nextword.nn.block import NORMED, Angles, Block, BlockSettings, Source, make_block
from nextword.nn.cache import KVCache, View, ring_places
from nextword.nn.dropout import dropout, unchanged
from nextword.nn.init import residual_std
from nextword.nn.mask import ALL, CAUSAL, Reach, Sight, padding, sight
from nextword.nn.norm import NormSettings, make_norm
from nextword.nn.paged import PagedCache, PagedView, TableView
from nextword.nn.position.relative import AlibiSettings, RelativeSettings, make_bias
from nextword.nn.position.rope import RopeSettings, Rotation


@dataclass(frozen=True, kw_only=True)
class StackSettings:
    """Every block, the last norm (None after post-norm blocks), and how positions enter the attention.

    rope: rotary angles, for blocks whose attention is rotary; near_rope: those of layers with a window, where they have
    their own. bias: what is added to all layers' scores by distance. order: which of the stored blocks each layer is,
    where layers share them (ALBERT); None is one for each. dropout: on what comes out.
    """

    blocks: tuple[BlockSettings, ...]
    norm: NormSettings | None
    rope: RopeSettings | None = None
    near_rope: RopeSettings | None = None
    bias: AlibiSettings | RelativeSettings | None = None
    dropout: float = 0.0
    order: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Places:
    """Where the tokens of one call stand: positions_BT (B or 1, T), `longest` one more than the largest of them.

    begins_BT: where each place's document begins, in packed rows. view: how a cache is read, with a state.
    """

    positions_BT: Tensor
    longest: int
    lengths_B: Tensor | None
    begins_BT: Tensor | None = None
    view: View | PagedView | TableView | None = None


class Stack(nn.Module):
    """x_BTD -> hidden_BTD through all blocks."""

    def __init__(self, settings: StackSettings) -> None:
        super().__init__()
        self.settings = settings
        stored = settings.blocks
        if settings.order is not None:
            stored = [settings.blocks[settings.order.index(number)] for number in range(max(settings.order) + 1)]
        self.blocks = nn.ModuleList(make_block(block) for block in stored)
        self.norm = make_norm(settings.norm) if settings.norm else unchanged
        self.drop = dropout(settings.dropout)
        self.reaches = [block.attention.reach for block in settings.blocks]
        turned = settings.blocks[0].attention.rotary_width or settings.blocks[0].attention.head_width
        self.rotations = [Rotation(rope, turned) for rope in (settings.rope, settings.near_rope) if rope]
        own = settings.near_rope is not None
        self.turned_by = [int(own and reach.window is not None) for reach in self.reaches]  # which of them, by layer
        self.bias = None if settings.bias is None else make_bias(settings.bias)
        self.shapes = [(block.attention.kv_heads, block.attention.head_width) for block in settings.blocks]

    @property
    def layers(self) -> Sequence[Block]:
        """The blocks in the order in which they run, one for each layer; layers may share one."""
        return self.blocks if self.settings.order is None else [self.blocks[number] for number in self.settings.order]

    def empty(self, rows: int, length: int, like: Tensor) -> KVCache:
        """Empty caches for `rows` sequences of up to `length` tokens (they grow if that was too few)."""
        return KVCache.empty(self.shapes, rows, length, like, [reach.room for reach in self.reaches])

    def places(self, batch: Batch) -> Places:
        """The places of rows that are read whole, without a state."""
        time, device = batch.ids_BT.shape[1], batch.ids_BT.device
        if batch.segments_BT is not None:
            begins_BT = segments.begins(batch.segments_BT)
            positions_BT = torch.arange(time, device=device) - begins_BT
            return Places(positions_BT, time, None, begins_BT)
        lengths_B = None if batch.mask_BT is None else batch.mask_BT.sum(1)
        return Places(torch.arange(time, device=device)[None], time, lengths_B)

    def advance(self, batch: Batch, cache: KVCache) -> tuple[KVCache, Places]:
        """The state after this batch, and the places of its tokens behind those that the cache holds."""
        refuse_packed(batch)
        rows, time = batch.ids_BT.shape
        counts = [time] * rows if batch.mask_BT is None else batch.mask_BT.sum(1).tolist()
        after, view = cache.advance(time, counts)
        alike = view.even and not any(r.stretches(view.span) for r in self.rotations)  # then one row serves all
        kinds = slice(1) if alike else slice(None)
        return after, Places(view.positions_BT[kinds], view.span, after.lengths_B[kinds], None, view)

    def run(
        self,
        x_BTD: Tensor,
        batch: Batch,
        places: Places,
        cache: KVCache | PagedCache | None = None,
        sources: Sequence[Source] | None = None,
    ) -> Tensor:
        """hidden_BTD after the last norm; `cache` is the state after this call, `sources` one for each layer."""
        angles = [self.angles(rotation, places, x_BTD) for rotation in self.rotations] or [()]
        sights = self.sights(batch, places, x_BTD)
        layers = self.layers
        none = [None] * len(layers)
        caches, sources = none if cache is None else cache.layers, none if sources is None else sources
        for block, turn, one_sight, layer, source in zip(layers, self.turned_by, sights, caches, sources, strict=True):
            x_BTD = block(x_BTD, angles[turn], one_sight, places.view, layer, source)
        return self.drop(self.norm(x_BTD))

    def angles(self, rotation: Rotation, places: Places, like: Tensor) -> Angles:
        """Cosines and sines of the positions, (T, E/2) or (B, 1, T, E/2)."""
        if places.begins_BT is not None:
            return self.packed_angles(rotation, places, like)
        if places.view is None and not rotation.stretches(places.longest):
            return rotation.table(places.longest, like)
        lengths_B = places.lengths_B
        if lengths_B is None:
            lengths_B = torch.tensor([places.longest], device=like.device)
        cos, sin = rotation.at(places.positions_BT, places.longest, lengths_B, like)
        return cos[:, None], sin[:, None]

    def packed_angles(self, rotation: Rotation, places: Places, like: Tensor) -> Angles:
        """`angles` of packed rows; SettingsError where frequencies depend on the length of each document."""
        if rotation.stretches(places.longest) and rotation.stretches(int(places.positions_BT.max()) + 1):
            raise SettingsError(
                "a packed document is beyond the trained length, where dynamic NTK and LongRoPE give each row its own "
                "frequencies: give it a row of its own"
            )
        cos_SE, sin_SE = rotation.table(places.longest, like)
        return cos_SE[places.positions_BT][:, None], sin_SE[places.positions_BT][:, None]

    def sights(self, batch: Batch, places: Places, like: Tensor) -> list[Sight]:
        """What each layer's queries see; layers of the same reach share it."""
        found = {reach: self.sight(reach, batch, places, like) for reach in set(self.reaches)}
        return [found[reach] for reach in self.reaches]

    def sight(self, reach: Reach, batch: Batch, places: Places, like: Tensor) -> Sight:
        """What the queries of a layer see, as cheaply as it can be said."""
        view, time = places.view, batch.ids_BT.shape[1]
        span = time if view is None else view.span
        limited, packed = reach.limited(span), places.begins_BT is not None
        fresh = view is None or view.fresh
        last = view is not None and view.even and time == 1  # one query a row, behind all keys
        if self.bias is None and not limited and not packed and reach.causal and (fresh or last):
            return CAUSAL if fresh else ALL
        if view is None and (limited or packed) and self.skips(like.device):
            real_BT = None if reach.causal else batch.mask_BT
            shape = (batch.ids_BT.shape[0], time)
            return Sight(blocks=flexible.block_mask(reach, places.begins_BT, real_BT, shape, like.device))
        keys_BS = torch.arange(span, device=like.device)[None]
        queries_BT = keys_BS if view is None else places.positions_BT
        if view is not None and view.rolls(reach.room):
            keys_BS = ring_places(queries_BT, reach.room)
        distance_BTS = keys_BS[:, None] - queries_BT[..., None]
        seen_BTS = reach.within(distance_BTS) if limited or packed or (reach.causal and not last) else None
        if packed:
            seen_BTS = seen_BTS & segments.same(places.begins_BT)
        if batch.mask_BT is not None and not reach.causal:
            seen_BTS = padding(batch.mask_BT) if seen_BTS is None else seen_BTS & batch.mask_BT[:, None]
            seen_BTS = seen_BTS | (distance_BTS == 0) if limited or packed else seen_BTS  # padding sees itself
        if self.bias is None:
            return sight(seen_BTS, None)
        return sight(seen_BTS, self.bias(distance_BTS, places.positions_BT if packed else keys_BS, like))

    def skips(self, device: torch.device) -> bool:
        """Whether attention here leaves out what nobody sees, and does not hide it with a mask."""
        attentions = [block.attention for block in self.settings.blocks]
        dropped = self.training and any(attention.dropout for attention in attentions)
        apart = any(block.arrangement == "disentangled" for block in self.settings.blocks)
        narrowest = min(attention.head_width for attention in attentions)
        return self.bias is None and not dropped and not apart and flexible.pays(device, narrowest)

    def costs(self) -> Costs:
        """Matrices of the blocks; attention's two products for each key seen; the cache."""
        matrices = sum(w.numel() for block in self.layers for w in block.parameters() if w.dim() > 1)
        attentions = [block.attention for block in self.settings.blocks]
        far = [a for a in attentions if a.reach.window is None]
        causal = sum(flops_per_key(a) for a in far if a.reach.causal)
        both = sum(flops_per_key(a) for a in far if not a.reach.causal)
        asked = [block.cross for block in self.settings.blocks if block.cross]
        kept = [a for a in far if a.reach.causal] + asked
        return Costs(
            matrices,
            flops_per_key=causal,
            flops_per_key_of_all=both + sum(flops_per_key(a) for a in asked),
            state_per_token=sum(2 * a.kv_heads * a.head_width for a in kept),
            near=tuple(near(a) for a in attentions if a.reach.window is not None),
        )

    def draw(self, std: float, generator: torch.Generator) -> None:
        """Draws the weights of blocks, bias and norm anew, see `nextword.nn.init`.

        Only where what is added to the stream passes no norm do the matrices that write into it start smaller the more
        they are.
        """
        if self.bias is not None:
            self.bias.initialise(std, generator)
        depth = len(self.layers)
        for block in self.blocks:
            output_std = std if block.settings.arrangement in NORMED else residual_std(std, depth)
            block.initialise(std, output_std, generator)
        if isinstance(self.norm, nn.Module):
            self.norm.initialise()


def flops_per_key(attention: AttentionSettings) -> int:
    """Two products of a head's width for each key that a query sees: with the key, and its weight with the value."""
    return 4 * attention.heads * attention.head_width


def near(attention: AttentionSettings) -> Near:
    """What attention with a window costs."""
    reach = attention.reach
    kept = 2 * attention.kv_heads * attention.head_width if reach.causal else 0
    return Near(reach.window, reach.causal, flops_per_key(attention), kept, reach.room or 0)
