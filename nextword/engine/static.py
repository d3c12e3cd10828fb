"""Steps over tensors that never move, so that one recording serves every token (`engine/replay`).

A *room* holds the keys and values of some rows up to some length, and one recording for each number of tokens that a
row reads and each span of keys that attention looks at: spans double, so that a short text in a large room does not
pay for its length. What is new in a step, the tokens and their places, is written into tensors of the room's own.
Rows and tokens are filled up to powers of two by repeating the last one, which writes the same numbers to the same
place once more and so changes nothing.

The caller's states stay what they were. A state that comes in moves in: its keys and values are copied into the room
once, and its layers are turned to the copy. Who lived there before, and still is of use to someone, gets a copy of its
own. So beams, forks and texts that are taken back need no rule here.
"""

import weakref
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from nextword.decode.scores import draw
from nextword.engine.replay import Recorder, Work
from nextword.engine.step import PlainSteps
from nextword.models.base import Batch
from nextword.models.stack import Places
from nextword.models.transformer import Transformer
from nextword.nn.cache import KVCache, LayerCache, View
from nextword.nn.position.absolute import SinusoidalPositions
from nextword.nn.position.rope import Within

FEWEST_PLACES = 256  # the first span; the others are twice as long each
MOST_TOKENS = 16  # of a row: more at once are matrix products, whose launching costs nothing beside them


def power_of_two(count: int, least: int = 1) -> int:
    """The smallest power of two times `least` that is at least `count`."""
    size = least
    while size < count:
        size *= 2
    return size


def longest_text(model: Transformer) -> int | None:
    """The places of which all tables reach; None without an end."""
    ends = [rotation.settings.scaling.trained_length for rotation in model.rotations
            if isinstance(rotation.settings.scaling, Within)]  # fmt: skip
    if model.max_length is not None:
        ends.append(model.max_length)
    return min(ends, default=None)


class Room:
    """Buffers for `rows` rows of `places` places, and what was recorded over them."""

    def __init__(self, model: Transformer, rows: int, places: int) -> None:
        self.rows, self.places = rows, places
        self.layers = model.start(rows, places).layers
        self.lodgers: list[weakref.ref[LayerCache]] = []
        # by tokens a row and span: ids and places (2, R, T), the repetition, and tables that it reads, kept alive
        self.recorded: dict[tuple[int, int], tuple[Tensor, Callable[[], Tensor], list[Tensor]]] = {}

    def span(self, length: int) -> int:
        """How many keys are looked at when the longest row has `length`."""
        return min(power_of_two(length, FEWEST_PLACES), self.places)

    def lodges(self, layers: Sequence[LayerCache]) -> bool:
        """Whether these layers live here."""
        return layers[0].k_BKSE.data_ptr() == self.layers[0].k_BKSE.data_ptr()

    def take_in(self, layers: Sequence[LayerCache]) -> None:
        """Copies keys and values of a state into the buffers, and turns its layers to them."""
        for own, lodger in zip(self.layers, self.lodgers, strict=bool(self.lodgers)):
            layer = lodger()
            if layer is not None and layer.k_BKSE.data_ptr() == own.k_BKSE.data_ptr():  # someone may go on from there
                layer.k_BKSE, layer.v_BKSE = layer.k_BKSE.clone(), layer.v_BKSE.clone()
        for own, layer in zip(self.layers, layers, strict=True):
            rows, size = len(layer.k_BKSE), min(layer.k_BKSE.shape[2], own.k_BKSE.shape[2])
            own.k_BKSE[:rows, :, :size] = layer.k_BKSE[:, :, :size]  # behind that nothing was read yet
            own.v_BKSE[:rows, :, :size] = layer.v_BKSE[:, :, :size]
            layer.k_BKSE, layer.v_BKSE = own.k_BKSE[:rows], own.v_BKSE[:rows]
        self.lodgers = [weakref.ref(layer) for layer in layers]

    def work(self, model: Transformer, span: int) -> Work:
        """The step itself: logits (R · T, V) of ids and places (2, R, T), over the keys and values of all layers."""

        def step(ids_and_places_2RT: Tensor, *buffers: Tensor) -> Tensor:
            ids_RT, positions_RT = ids_and_places_2RT
            rows, time = ids_RT.shape
            pairs = zip(buffers[::2], buffers[1::2], strict=True)
            layers = [layer.like(*pair) for layer, pair in zip(self.layers, pairs, strict=True)]
            view = View(positions_RT, 0, span, even=False, fresh=False, counts=[time] * rows)
            places = Places(positions_RT, span, positions_RT[:, -1] + 1, None, view)
            hidden_RTD = model.through(Batch(ids_RT), places, KVCache(layers, [0] * rows))
            return model.logits(hidden_RTD.flatten(0, 1))

        return step

    def buffers(self) -> list[Tensor]:
        """Keys and values, layer by layer."""
        return [x_BKSE for layer in self.layers for x_BKSE in (layer.k_BKSE, layer.v_BKSE)]


class StaticSteps:
    """A Stepper whose steps of few tokens are recorded once and repeated; prompts are read by the model itself."""

    draw = staticmethod(draw)

    def __init__(self, model: Transformer, recorder: Recorder) -> None:
        self.model, self.plain, self.recorder = model, PlainSteps(model), recorder
        self.rooms: dict[int, Room] = {}
        self.end = longest_text(model)
        rolls = any(reach.room is not None for reach in model.reaches)
        self.most_tokens = 1 if rolls else MOST_TOKENS  # a ring takes several by a count that only Python knows

    def prefill(
        self, rows: Sequence[Sequence[int]], length: int, sources: Sequence[Sequence[int]] | None = None
    ) -> tuple[Tensor, KVCache]:
        """As Stepper."""
        return self.plain.prefill(rows, length, sources)  # type: ignore[return-value]

    def step(self, ids: Sequence[int], state: KVCache) -> tuple[Tensor, KVCache]:
        """As Stepper."""
        return self.extend([(number,) for number in ids], state)

    @torch.inference_mode()
    def extend(self, rows: Sequence[Sequence[int]], state: KVCache) -> tuple[Tensor, KVCache]:
        """As Stepper."""
        counts = [len(row) for row in rows]
        length = max(old + new for old, new in zip(state.lengths, counts, strict=True))
        beyond = self.end is not None and length > self.end
        if max(counts) > self.most_tokens or min(counts) == 0 or beyond or self.model.training:
            return self.plain.extend(rows, state)  # type: ignore[return-value]
        room = self.room_for(state, length)
        if not room.lodges(state.layers):
            room.take_in(state.layers)
        time, span = power_of_two(max(counts)), room.span(length)
        filled_2RT = self.filled(rows, state.lengths, room.rows, time)
        if (time, span) not in room.recorded:
            inputs_2RT = filled_2RT.to(room.layers[0].k_BKSE.device)
            tables = tables_of(self.model, room.places)
            repeat = self.recorder(room.work(self.model, span), (inputs_2RT, *room.buffers()))
            room.recorded[time, span] = inputs_2RT, repeat, tables
        inputs_2RT, repeat, _ = room.recorded[time, span]
        inputs_2RT.copy_(filled_2RT)
        logits_RTV = repeat().unflatten(0, (room.rows, time))
        found = [logits_RTV[row, :count] for row, count in enumerate(counts)]
        return torch.cat(found), state.after(counts, state.layers)

    def room_for(self, state: KVCache, length: int) -> Room:
        """A room of enough rows that is long enough for `length` tokens and for what the state was made for."""
        rows, made_for = power_of_two(len(state.lengths)), max(layer.k_BKSE.shape[2] for layer in state.layers)
        places = power_of_two(max(length, made_for), FEWEST_PLACES)
        places = places if self.end is None else min(places, self.end)
        room = self.rooms.get(rows)
        if room is None or room.places < places:
            room = self.rooms[rows] = Room(self.model, rows, places)
        return room

    def filled(self, rows: Sequence[Sequence[int]], lengths: Sequence[int], most: int, time: int) -> Tensor:
        """Ids and places (2, R, T), filled up with each row's last token and with the last row."""
        ids, places = [], []
        for row, begin in zip(rows, lengths, strict=True):
            more = time - len(row)
            ids.append([*row, *[row[-1]] * more])
            places.append([*range(begin, begin + len(row)), *[begin + len(row) - 1] * more])
        more = most - len(rows)
        return torch.tensor([[*ids, *[ids[-1]] * more], [*places, *[places[-1]] * more]])


def tables_of(model: Transformer, places: int) -> list[Tensor]:
    """The tables of so many positions, so long that no recording makes one anew; to be kept while one may read them."""
    like = model.embedding.like
    found = [table for rotation in model.rotations for table in rotation.table(places, like)]
    for part in model.embedding.modules():
        if isinstance(part, SinusoidalPositions):
            part(torch.zeros(1, 1, dtype=torch.int64, device=like.device), places)
            found.append(part.table_SD)
    return found
