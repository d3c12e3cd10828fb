"""Rows that are read on with as a strategy chooses: a state, and what the rows read last.

Tokens are taken back by `State.crop`. A recurrence keeps no history: its state before the last call is held, and what
was right of the tokens read since is read again together with the next.
"""

from collections.abc import Sequence

import torch

from nextword.decode.strategy import Choice, Reading
from nextword.engine.step import PlainSteps, Stepper
from nextword.models.base import State
from nextword.nn.recurrent import LSTMState


class Reader:
    """`begin` reads prompts, `follow` what is chosen. hidden: also give hidden vectors, of plain steps only."""

    def __init__(self, steps: Stepper, hidden: bool = False) -> None:
        self.steps, self.hidden = steps, hidden
        self.state: State | None = None
        self.before: State | None = None  # the last call, for states that cannot be cropped
        self.read: list[tuple[int, ...]] = []  # by each row in the last call
        self.counts: list[int] = []  # how many of these, the last ones, were chosen in the last call

    def begin(
        self, prompts: Sequence[Sequence[int]], length: int, sources: Sequence[Sequence[int]] | None = None
    ) -> Reading:
        """Reads prompts into a fresh state with room for `length` tokens a row."""
        self.read = [tuple(prompt) for prompt in prompts]
        self.counts, ones = [len(prompt) for prompt in prompts], [1] * len(prompts)
        if self.hidden and isinstance(self.steps, PlainSteps):
            vectors, self.state = self.steps.vectors(prompts, self.steps.model.start(len(prompts), length), sources)
            return Reading(self.steps.model.logits(torch.stack([row_TD[-1] for row_TD in vectors])), ones, vectors)
        logits_BV, self.state = self.steps.prefill(prompts, length, sources)
        return Reading(logits_BV, ones)

    def follow(self, choices: Sequence[Choice]) -> Reading:
        """Rows leave, are repeated, take tokens back and read on."""
        tokens = [choice.tokens for choice in choices]
        wanted = [len(row) for row in tokens]
        self.read = tokens = self.turn_to(choices, tokens)
        self.counts = wanted
        if all(len(row) == 1 for row in tokens) and not self.hidden:
            logits_NV, self.state = self.steps.step([row[0] for row in tokens], self.state)
            return Reading(logits_NV, wanted)
        if self.hidden and isinstance(self.steps, PlainSteps):
            vectors, self.state = self.steps.vectors(tokens, self.state)
            return Reading(self.steps.model.logits(torch.cat(vectors)), wanted, vectors)
        logits_NV, self.state = self.steps.extend(tokens, self.state)
        if [len(row) for row in tokens] != wanted:  # some were read a second time
            parts = logits_NV.split([len(row) for row in tokens])
            logits_NV = torch.cat([part_TV[-count:] for part_TV, count in zip(parts, wanted, strict=True)])
        return Reading(logits_NV, wanted)

    def turn_to(self, choices: Sequence[Choice], tokens: list[tuple[int, ...]]) -> list[tuple[int, ...]]:
        """Makes the state that of the chosen rows without what they do not keep; what there is to read."""
        rows = [choice.row for choice in choices]
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
