"""One step of a batch: tokens in, scores of the next ones out, by the plain model or by a compiled plan.

A *plan* is another way to compute the same step: a file in `nextword/engine/plans` whose `plan(model, tokens, mode)`
returns a `Stepper`, or None when it does not fit the model or does not pay. Sampling stays outside. Without a plan the
model itself steps, in PyTorch.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, Protocol, cast

import torch
from torch import Tensor

from nextword.core.errors import SettingsError
from nextword.core.registry import names, part
from nextword.decode.scores import Draw, draw
from nextword.models.base import Batch, LanguageModel, State, pad

PLANS = "nextword.engine.plans"
Compiled = Literal["auto", "always", "never"]


class Stepper(Protocol):
    """Advances the rows of a state by tokens."""

    @property
    def draw(self) -> Draw:
        """How tokens are drawn from the scores that it gives."""
        ...

    def prefill(
        self, rows: Sequence[Sequence[int]], length: int, sources: Sequence[Sequence[int]] | None = None
    ) -> tuple[Tensor, State]:
        """Reads prompts into a fresh state with room for `length` tokens a row; logits_BV after the last of each.

        sources: what an encoder-decoder reads, one for each prompt.
        """
        ...

    def step(self, ids: Sequence[int], state: State) -> tuple[Tensor, State]:
        """Reads one token a row; logits_BV of the next."""
        ...

    def extend(self, rows: Sequence[Sequence[int]], state: State) -> tuple[Tensor, State]:
        """Reads a few tokens, as many as each row has; logits_NV after every one, rows one after the other."""
        ...


class Planner(Protocol):
    """Makes a plan for a model that is to generate `tokens` tokens in batches of `rows`, if it can and should."""

    def __call__(self, model: LanguageModel, tokens: int, mode: Compiled) -> Stepper | None: ...  # noqa: D102


class PlainSteps:
    """The model itself, step by step."""

    draw = staticmethod(draw)

    def __init__(self, model: LanguageModel) -> None:
        self.model = model

    @torch.inference_mode()
    def prefill(
        self, rows: Sequence[Sequence[int]], length: int, sources: Sequence[Sequence[int]] | None = None
    ) -> tuple[Tensor, State]:
        """Reads the prompts as one right-padded batch."""
        return self.read(rows, self.model.start(len(rows), length), sources)

    @torch.inference_mode()
    def read(
        self, rows: Sequence[Sequence[int]], state: State, sources: Sequence[Sequence[int]] | None = None
    ) -> tuple[Tensor, State]:
        """Reads tokens, as many as each row has; logits_BV after the last of each."""
        hidden, after = self.vectors(rows, state, sources)
        return self.model.logits(torch.stack([row_TD[-1] for row_TD in hidden])), after

    @torch.inference_mode()
    def extend(self, rows: Sequence[Sequence[int]], state: State) -> tuple[Tensor, State]:
        """Reads tokens; logits_NV after every one."""
        hidden, after = self.vectors(rows, state)
        return self.model.logits(torch.cat(hidden)), after

    @torch.inference_mode()
    def vectors(
        self, rows: Sequence[Sequence[int]], state: State, sources: Sequence[Sequence[int]] | None = None
    ) -> tuple[list[Tensor], State]:
        """Reads tokens; of each row the hidden vectors of its tokens, (T, D)."""
        batch = replace(pad(rows), source=None if sources is None else pad(sources)).to(state.lengths_B.device)
        output = self.model.hidden(batch, state)
        hidden = [row_TD[: len(row)] for row_TD, row in zip(output.hidden_BTD, rows, strict=True)]
        return hidden, cast(State, output.state)

    @torch.inference_mode()
    def step(self, ids: Sequence[int], state: State) -> tuple[Tensor, State]:
        """Reads one token a row."""
        output = self.model.hidden(Batch(torch.tensor(ids)[:, None]).to(state.lengths_B.device), state)
        return self.model.logits(output.hidden_BTD[:, -1]), cast(State, output.state)


def stepper(model: LanguageModel, tokens: int, mode: Compiled = "auto") -> Stepper:
    """The way to step a model that is to generate so many tokens: the first plan that takes it, else the plain one."""
    if mode not in {"auto", "always", "never"}:
        raise SettingsError(f"compiled must be auto, always or never, received {mode!r}")
    if mode != "never":
        for name in names(PLANS):
            found = cast(Planner, part(PLANS, name, "plan"))(model, tokens, mode)
            if found is not None:
                return found
        if mode == "always":
            raise SettingsError(
                f"no compiled step fits this model ({', '.join(names(PLANS))}: on the CPU models shaped as Llama or "
                "GPT-2 in fp32, bf16 or quantised, on a GPU decoders without experts); use compiled = auto"
            )
    return PlainSteps(model)


def check_ids(rows: Sequence[Sequence[int]], vocab_size: int) -> None:
    """SettingsError for a token that the model does not have."""
    for row in rows:
        if min(row) < 0 or max(row) >= vocab_size:
            raise SettingsError(
                f"token {max(row) if max(row) >= vocab_size else min(row)} is not in the model's vocabulary of "
                f"{vocab_size}: the tokenizer belongs to another model"
            )
