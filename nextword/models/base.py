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

from nextword.nn import loss
from nextword.nn.loss import Term

IGNORED = loss.IGNORED  # the label of a position that is not to be predicted


@dataclass(frozen=True)
class Batch:
    """What a model reads. Rows may be ragged: then they are padded on the right and `mask_BT` says what is real.

    ids_BT: int64 token ids. mask_BT: bool, True where the id is real; None when every position is. Real ids stand at
    the start of a row; positions count them, from the state's `lengths_B`.
    """

    ids_BT: Tensor
    mask_BT: Tensor | None = None


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

    `config` is the content of the Hugging Face `config.json` that describes the model; `max_length` the number of
    positions that it can read, None where there is no limit.
    """

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
        """log p(labels_BT[b, t] | ids_BT[b, :t+1]), fp32 (B, T); 0 at label -100. Never a (B, T, V) buffer."""
        ...


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
