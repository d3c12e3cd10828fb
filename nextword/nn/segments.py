"""Packed rows: several documents side by side in one row, so that no place is spent on padding.

`segments_BT` numbers the documents: neighbours of equal number belong together. The documents must not see each other
and each counts its positions from 0, so that a packed document gives what it gives in a row of its own (Krell et al.,
"Efficient Sequence Packing without Cross-contamination", 2021).
"""

import torch
from torch import Tensor


def begins(segments_BT: Tensor) -> Tensor:
    """For each place, the place at which its document begins; int64 (B, T)."""
    first_BT = torch.ones_like(segments_BT, dtype=torch.bool)
    first_BT[:, 1:] = segments_BT[:, 1:] != segments_BT[:, :-1]
    places_T = torch.arange(segments_BT.shape[1], device=segments_BT.device)
    return torch.where(first_BT, places_T, 0).cummax(1).values


def positions(segments_BT: Tensor) -> Tensor:
    """The position of each place in its own document, from 0; int64 (B, T)."""
    return torch.arange(segments_BT.shape[1], device=segments_BT.device) - begins(segments_BT)


def same(begins_BT: Tensor) -> Tensor:
    """True where two places of a row belong to one document; bool (B, T, T). `begins_BT` as `begins` gives it."""
    return begins_BT[:, :, None] == begins_BT[:, None, :]


def unpack(segments_BT: Tensor, mask_BT: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Every document as a row of its own: number_BT and place_BT say where a token goes, mask_NS what is real there.

    N documents (padding counts to the one before it, or as one without real tokens), S the length of the longest.
    """
    place_BT = positions(segments_BT)
    real_BT = torch.ones_like(segments_BT, dtype=torch.bool) if mask_BT is None else mask_BT
    number_BT = ((place_BT == 0).flatten().cumsum(0) - 1).view_as(segments_BT)
    mask_NS = real_BT.new_zeros(int(number_BT.max()) + 1, int(place_BT.max()) + 1)
    mask_NS[number_BT, place_BT] = real_BT
    return number_BT, place_BT, mask_NS
