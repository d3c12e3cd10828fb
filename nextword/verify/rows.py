"""Texts as a model reads them: alone, padded into a batch, or packed side by side into rows."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import torch
from torch import Tensor

from nextword.models.base import Batch

NO_SEGMENT = -1  # of padding


@dataclass(frozen=True)
class Row:
    """One text. source: the ids that the encoder of an encoder-decoder reads; types: of an encoder that has them."""

    ids: tuple[int, ...]
    source: tuple[int, ...] | None = None
    types: tuple[int, ...] | None = None

    def __len__(self) -> int:
        return len(self.ids)


def alone(row: Row) -> Batch:
    """A row in a batch of its own, nothing padded."""
    types_BT = None if row.types is None else torch.tensor([row.types])
    source = None if row.source is None else Batch(torch.tensor([row.source]))
    return Batch(torch.tensor([row.ids]), types_BT=types_BT, source=source)


def padded(rows: Sequence[Row], fill: int) -> Batch:
    """Rows of different lengths as one batch, right-padded with the id `fill`, which nobody may look at."""
    types = [row.types for row in rows if row.types is not None]
    sources = [row.source for row in rows if row.source is not None]
    return Batch(
        _pad([row.ids for row in rows], fill),
        _real([row.ids for row in rows]),
        types_BT=_pad(types, 1) if types else None,
        source=Batch(_pad(sources, fill), _real(sources)) if sources else None,
    )


def packed(groups: Sequence[Sequence[Row]], fill: int) -> Batch:
    """Each group of rows side by side in one row, a segment each, padded at the end."""
    batch = padded([joined(group) for group in groups], fill)
    segments_BT = _pad([_numbers([row.ids for row in group]) for group in groups], NO_SEGMENT)
    source = batch.source
    if source is not None:
        numbers = [_numbers([row.source or () for row in group]) for group in groups]
        source = Batch(source.ids_BT, source.mask_BT, _pad(numbers, NO_SEGMENT))
    return Batch(batch.ids_BT, batch.mask_BT, segments_BT, batch.types_BT, source)


def joined(group: Sequence[Row]) -> Row:
    """The rows of a group one after the other, as one row."""
    sources = [row.source for row in group if row.source is not None]
    types = [row.types for row in group if row.types is not None]
    return Row(
        tuple(chain.from_iterable(row.ids for row in group)),
        tuple(chain.from_iterable(sources)) if sources else None,
        tuple(chain.from_iterable(types)) if types else None,
    )


def _numbers(documents: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    return tuple(number for number, ids in enumerate(documents) for _ in ids)


def _pad(rows: Sequence[tuple[int, ...]], fill: int) -> Tensor:
    longest = max(map(len, rows))
    return torch.tensor([[*row, *[fill] * (longest - len(row))] for row in rows])


def _real(rows: Sequence[tuple[int, ...]]) -> Tensor:
    return torch.arange(max(map(len, rows)))[None] < torch.tensor([len(row) for row in rows])[:, None]
