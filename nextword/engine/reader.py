"""Rows that are read on with as a strategy chooses: a state, and what the rows read last.

Tokens are taken back by `State.crop`. A recurrence keeps no history: its state before the last call is held, and what
was right of the tokens read since is read again together with the next.
"""

from collections.abc import Sequence

import torch

from nextword.core.errors import SettingsError
from nextword.decode.strategy import Choice, Reading
from nextword.engine.step import PlainSteps, Stepper
from nextword.models.base import State
from nextword.nn.recurrent import LSTMState


class Reader:
    """`begin` reads prompts, `follow` what is chosen. hidden: hidden vectors, too, which only plain steps have."""

    def __init__(self, steps: Stepper, hidden: bool = False, room: int | None = None) -> None:
        self.steps, self.room = steps, room
        if hidden and not isinstance(steps, PlainSteps):
            raise SettingsError("hidden vectors are seen by plain steps only: use compiled = auto or never")
        self.seen = steps if hidden and isinstance(steps, PlainSteps) else None  # how to see hidden vectors
        self.state: State | None = None
        self.before: State | None = None  # the last call, for states that cannot be cropped
        self.read: list[tuple[int, ...]] = []  # by each row in the last call
        self.marked: tuple[State | None, int] = None, 0
        self.counts: list[int] = []  # how many of these, the last ones, were chosen in the last call

    def begin(
        self, prompts: Sequence[Sequence[int]], length: int, sources: Sequence[Sequence[int]] | None = None
    ) -> Reading:
        """Reads prompts into a fresh state with room for `length` tokens a row."""
        self.read = [tuple(prompt) for prompt in prompts]
        self.counts, ones = [len(prompt) for prompt in prompts], [1] * len(prompts)
        if self.seen is not None:
            vectors, self.state = self.seen.vectors(prompts, self.seen.model.start(len(prompts), length), sources)
            return Reading(self.seen.model.logits(torch.stack([row_TD[-1] for row_TD in vectors])), ones, vectors)
        logits_BV, self.state = self.steps.prefill(prompts, length, sources)
        return Reading(logits_BV, ones)

    def follow(self, choices: Sequence[Choice]) -> Reading:
        """Rows leave, are repeated, take tokens back and read on."""
        wanted = [len(choice.tokens) for choice in choices]
        self.read, self.counts = self.turn_to(choices), wanted
        counts = [len(row) for row in self.read]
        if self.seen is not None:
            vectors, self.state = self.seen.vectors(self.read, self.state)
            return Reading(self.seen.model.logits(torch.cat(vectors)), wanted, vectors)
        if set(counts) == {1}:
            logits_NV, self.state = self.steps.step([row[0] for row in self.read], self.state)
            return Reading(logits_NV, wanted)
        logits_NV, self.state = self.steps.extend(self.read, self.state)
        if counts != wanted:  # some were read a second time
            parts = zip(logits_NV.split(counts), wanted, strict=True)
            logits_NV = torch.cat([logits_TV[-count:] for logits_TV, count in parts])
        return Reading(logits_NV, wanted)

    def mark(self) -> None:
        """Remembers the rows as they are now."""
        self.marked = self.state, len(self.counts)

    def go_back(self) -> None:
        """The rows are again as they were at the mark."""
        self.state, rows = self.marked
        self.read, self.counts = [()] * rows, [0] * rows

    def turn_to(self, choices: Sequence[Choice]) -> list[tuple[int, ...]]:
        """Makes the state that of the chosen rows without what they do not keep; what is to be read by each."""
        rows, tokens = [choice.row for choice in choices], [choice.tokens for choice in choices]
        back = [0 if choice.kept is None else self.counts[choice.row] - choice.kept for choice in choices]
        state, again = self.state, isinstance(self.state, LSTMState) and any(back)
        if again:
            state = self.before
            kept = [self.read[row][: len(self.read[row]) - count] for row, count in zip(rows, back, strict=True)]
            tokens = [old + new for old, new in zip(kept, tokens, strict=True)]
        device = state.lengths_B.device
        if rows != list(range(len(self.read))):
            state = state.select(torch.tensor(rows, device=device))
        if any(back) and not again:
            state = state.crop(state.lengths_B - torch.tensor(back, device=device))
        self.state = self.before = state
        return tokens
