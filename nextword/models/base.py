"""The one protocol of the library: anything that scores the next token, given a state.

Counts, recurrence and attention differ in what they carry between calls (`State`) and in how they turn ids into
something that predicts (`hidden`); generation, evaluation and training see only this file.

A model is called in three steps because each has a user of its own: `start` makes an empty state (generation),
`hidden` reads ids and advances it, and `logits` turns only the positions that are asked for into scores over the
vocabulary. `score` joins the last two for a whole batch without ever holding (B, T, V) numbers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from nextword.core.errors import SettingsError
from nextword.nn import loss
from nextword.nn.loss import Term

IGNORED = loss.IGNORED  # the label of a position that is not to be predicted
BALANCE = "balance"  # the term that a mixture of experts adds to the loss; its count is that of the tokens read


@dataclass(frozen=True)
class Batch:
    """What a model reads. Rows may be ragged: then they are padded on the right and `mask_BT` says what is real.

    ids_BT: int64 token ids. mask_BT: bool, True where the id is real; None when every position is. Real ids stand at
    the start of a row; positions count them, from the state's `lengths_B`.

    segments_BT: int64, equal neighbours belong to one document. Documents that are packed into a row do not see each
    other, and positions begin anew with each (a change of number, from one place to the next, begins a document).
    types_BT: int64 token types (BERT's first and second sentence). source: what the encoder of an encoder-decoder
    reads; `ids_BT` is then the decoder's input. Where both are packed, a document of the target sees the source of the
    same number.
    """

    ids_BT: Tensor
    mask_BT: Tensor | None = None
    segments_BT: Tensor | None = None
    types_BT: Tensor | None = None
    source: "Batch | None" = None

    def to(self, device: torch.device | str) -> "Batch":
        """The same on another device."""
        rest = (None if x is None else x.to(device) for x in (self.mask_BT, self.segments_BT, self.types_BT))
        return Batch(self.ids_BT.to(device), *rest, None if self.source is None else self.source.to(device))


class State(Protocol):
    """What is carried between calls, owned by the caller. `lengths_B`: the tokens that each row has read (int64)."""

    lengths_B: Tensor

    def select(self, rows: Tensor) -> "State":
        """The state of the given rows (int64 indices; a row may be repeated, as beams do, or left out)."""
        ...

    def crop(self, lengths_B: Tensor) -> "State":
        """The state as it was after the first `lengths_B` tokens of each row (speculation takes tokens back)."""
        ...

    def fork(self, row: int, count: int) -> "State":
        """`count` copies of one row (a prompt that several continuations share)."""
        ...


class Output(NamedTuple):
    """What `hidden` returns: hidden_BTD, the advanced state (None if none was given), and extra loss terms by name."""

    hidden_BTD: Tensor
    state: State | None = None
    terms: dict[str, Term] = {}


@runtime_checkable
class LanguageModel(Protocol):
    """Anything that scores the next token: counts, recurrence or attention.

    `kind`: a "decoder" reads from left to right and continues a text; an "encoder" sees both sides and fills gaps; an
    "encoder-decoder" reads a source and writes a text. `config` is the content of the Hugging Face `config.json` that
    describes the model; `max_length` the number of positions that it can read, None where there is no limit.
    """

    kind: str
    vocab_size: int
    max_length: int | None
    config: dict[str, Any]

    def start(self, rows: int, length: int) -> State:
        """An empty state for `rows` sequences of up to `length` tokens."""
        ...

    def hidden(self, batch: Batch, state: State | None = None) -> Output:
        """Reads ids; position t of hidden_BTD holds what predicts the token after ids_BT[:, t]."""
        ...

    def logits(self, hidden_ND: Tensor) -> Tensor:
        """Unnormalised log-probabilities over the vocabulary (N, V), fp32, for the rows of hidden_ND that are given."""
        ...

    def score(self, batch: Batch, labels_BT: Tensor) -> Tensor:
        """log p(labels_BT[b, t] | hidden_BTD[b, t]), fp32 (B, T); 0 at label -100. Never a (B, T, V) buffer.

        Nothing is shifted here: for a decoder the label at t is the token after t, for an encoder the one at t.
        """
        ...


@runtime_checkable
class Balanced(Protocol):
    """A model that adds terms to every loss it is trained with (mixtures of experts)."""

    def judged(self, batch: Batch, labels_BT: Tensor) -> tuple[Tensor, dict[str, Term]]:
        """What `score` gives, and those terms."""
        ...


def refuse(batch: Batch, who: str, *, types: bool = True, source: bool = True) -> None:
    """SettingsError when a batch has token types or a source (those that are asked for) and the model no use for it."""
    if types and batch.types_BT is not None:
        raise SettingsError(f"{who} has no token types: give sentence pairs to an encoder that has them (bert)")
    if source and batch.source is not None:
        raise SettingsError(f"{who} reads no source beside its text: that is for an encoder-decoder (t5)")


def refuse_packed(batch: Batch) -> None:
    """SettingsError for packed rows that are to be read into a state: a state follows one document a row."""
    if batch.segments_BT is not None:
        raise SettingsError("packed rows (segments) are read whole, without a state: give each document its own row")


def fits(model: LanguageModel, length: int) -> bool:
    """Whether a sequence of `length` tokens is within the model's `max_length`."""
    return model.max_length is None or length <= model.max_length


def pad(rows: Sequence[Sequence[int]], fill: int = 0) -> Batch:
    """Rows of ids of different lengths as one right-padded batch on the CPU; `fill`, any valid id, is masked out."""
    longest = max(map(len, rows))
    ids_BT = torch.tensor([list(row) + [fill] * (longest - len(row)) for row in rows], dtype=torch.int64)
    if all(len(row) == longest for row in rows):
        return Batch(ids_BT)
    lengths_B = torch.tensor([len(row) for row in rows])
    return Batch(ids_BT, torch.arange(longest)[None, :] < lengths_B[:, None])
