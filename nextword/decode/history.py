"""A text on its way, as the processors see it: its settings, the tokens of its prompt, and those chosen since.

What a processor does follows from these alone: a ban of n-grams looks at the tokens, a grammar at the bytes they stand
for. So a strategy has three things to say: `push` a token, `fork` into a text of its own (beams), `rewind` (speculation
takes tokens back). Nothing else has to be kept in step.
"""

from collections.abc import Collection, Iterable, Sequence
from copy import copy

import numpy as np
import torch
from torch import Tensor

from nextword.core.errors import SettingsError
from nextword.decode import chain
from nextword.decode.constrain.grammar import guide
from nextword.decode.constrain.vocabulary import Spelling
from nextword.decode.settings import SamplingSettings

ROOM = 64  # tokens that a fresh row has room for beyond its prompt; doubled when they prove too few


class History:
    """One text.

    settings, prompt: what was asked. vocab_size: scores there are. limit: how many tokens may be generated. eos_ids:
    those that end a text. tokenizer: says what tokens stand for, which only constraints ask. SettingsError for a
    setting that names a token that is not in the vocabulary, or a constraint that nothing satisfies.
    """

    def __init__(
        self,
        settings: SamplingSettings,
        prompt: Sequence[int],
        vocab_size: int,
        limit: int,
        eos_ids: Collection[int] = (),
        tokenizer: Spelling | None = None,
    ) -> None:
        check_tokens(settings, vocab_size)
        self.settings, self.vocab_size, self.limit, self.eos_ids = settings, vocab_size, limit, tuple(sorted(eos_ids))
        self.start = self.length = len(prompt)
        self.buffer = np.empty(self.start + ROOM, dtype=np.int64)
        self.buffer[: self.start] = prompt
        self.stages = chain.stages(settings)
        self.guide = guide(settings, tokenizer, vocab_size, self.eos_ids)

    @property
    def seen(self) -> np.ndarray:
        """Prompt and generated tokens (a view, int64)."""
        return self.buffer[: self.length]

    @property
    def new(self) -> np.ndarray:
        """Generated tokens (a view, int64)."""
        return self.buffer[self.start : self.length]

    @property
    def left(self) -> int:
        """How many tokens may still be generated."""
        return self.limit - (self.length - self.start)

    @property
    def finished(self) -> bool:
        """Whether the text is what its constraint asks for, and nothing but the end can follow."""
        return self.guide is not None and self.guide.finished

    @property
    def complete(self) -> bool | None:
        """Whether the text is what its constraint asks for; None without one."""
        return None if self.guide is None else self.guide.complete

    @property
    def cut(self) -> bool:
        """Whether there is a constraint that the text does not satisfy as it stands."""
        return self.complete is False

    def push(self, token: int) -> None:
        """Takes a token that was chosen."""
        if self.length == len(self.buffer):
            self.buffer = np.concatenate((self.buffer, np.empty_like(self.buffer)))
        self.buffer[self.length] = token
        self.length += 1
        if self.guide is not None:
            self.guide.push(token)

    def rewind(self, count: int) -> None:
        """Takes the last `count` generated tokens back."""
        assert count <= self.length - self.start, "a prompt is not taken back"
        self.length -= count
        if self.guide is not None:
            self.guide.rewind(count)

    def fork(self) -> "History":
        """A copy that goes its own way."""
        other = copy(self)
        other.buffer = self.buffer.copy()
        other.guide = None if self.guide is None else self.guide.fork()
        return other


def check_tokens(settings: SamplingSettings, vocab_size: int) -> None:
    """SettingsError for a token id that the model does not have."""
    banned = [number for sequence in settings.banned_ids for number in sequence]
    named = {"logit_bias": settings.logit_bias, "banned_ids": banned, "forced": settings.forced.values()}
    for name, numbers in named.items():
        if outside := [number for number in numbers if not 0 <= number < vocab_size]:
            raise SettingsError(f"{name}: there is no token {outside[0]}, the vocabulary has 0 to {vocab_size - 1}")


def together(histories: Iterable[np.ndarray], fill: int, like: Tensor) -> Tensor:
    """Tokens of several rows as ids_BT on the device of `like`, shorter ones followed by `fill`."""
    rows = [torch.from_numpy(ids) for ids in histories]
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=fill).to(like.device)


def column(values: Iterable[float], like: Tensor) -> Tensor:
    """A number for each row, as (B, 1) beside `like`."""
    return torch.tensor(list(values), dtype=like.dtype, device=like.device)[:, None]
