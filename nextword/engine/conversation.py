"""A conversation with a model: messages in, answers out as they are made, and nothing read twice.

A chat model reads the whole conversation before each answer, but it has read all but the last message already. Its
state (the keys and values) is kept: where the new prompt begins as the text that was read, the state is cropped to what
they share and only the rest is read. The answer itself is among what is kept.

When the conversation outgrows the model's context, its oldest turns are left out, a user's message with its answer at a
time; the system message always stays.
"""

from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import replace
from typing import cast

import torch
from torch import Tensor

from nextword.core.errors import SettingsError
from nextword.core.records import Conversation, Message
from nextword.decode.settings import DEFAULT_TOKENS, SamplingSettings
from nextword.engine.generate import stream
from nextword.engine.request import Generation, Request
from nextword.engine.step import Compiled, Stepper, stepper
from nextword.models.base import LanguageModel, State
from nextword.tokenizers.chat_prompt import prompt_ids
from nextword.tokenizers.conversations import Chat

CHUNK = 64  # tokens that are read at once behind what is kept: each gets scores, which take memory
SHARE_FOR_ANSWER = 4  # without max_tokens, a quarter of the context is kept free for the answer, 256 tokens at most
MARK = "\ue0f2"  # of the private use area, which no template has
PLAIN = (
    "{% for message in messages %}{{ message['role']|capitalize + ': ' + message['content'] + '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)
PLAIN_STOP = "\nUser:"


class Kept:
    """A Stepper for one row that goes on from the text it read last, as far as the next begins alike."""

    def __init__(self, steps: Stepper) -> None:
        self.steps, self.draw = steps, steps.draw
        self.ids: list[int] = []  # what the state has read
        self.state: State | None = None

    def prefill(
        self, rows: Sequence[Sequence[int]], length: int, sources: Sequence[Sequence[int]] | None = None
    ) -> tuple[Tensor, State]:
        """As Stepper: logits after the prompt, of which only what is new is read."""
        [prompt] = rows
        state, shared = self.common(prompt)
        if state is None:
            logits_1V, state = self.steps.prefill(rows, length, sources)
        else:
            for start in range(shared, len(prompt), CHUNK):
                logits_TV, state = self.steps.extend([prompt[start : start + CHUNK]], state)
            logits_1V = logits_TV[-1:]
        return logits_1V, self.note(prompt[shared:], shared, state)

    def extend(self, rows: Sequence[Sequence[int]], state: State) -> tuple[Tensor, State]:
        """As Stepper."""
        before = int(state.lengths_B[0])
        logits_TV, after = self.steps.extend(rows, state)
        return logits_TV, self.note(rows[0], before, after)

    def step(self, ids: Sequence[int], state: State) -> tuple[Tensor, State]:
        """As Stepper."""
        before = int(state.lengths_B[0])
        logits_1V, after = self.steps.step(ids, state)
        return logits_1V, self.note(ids, before, after)

    def note(self, new: Sequence[int], before: int, state: State) -> State:
        """Remembers what the state has read; it may have been cropped since."""
        self.ids = [*self.ids[:before], *new]
        self.state = state
        return state

    def common(self, prompt: Sequence[int]) -> tuple[State | None, int]:
        """The state of what the prompt shares with the text before, and how much that is; at least a token is new."""
        shared = 0
        while shared < min(len(self.ids), len(prompt) - 1) and self.ids[shared] == prompt[shared]:
            shared += 1
        if self.state is None or not shared:
            return None, 0
        if shared == len(self.ids):
            return self.state, shared
        try:
            return self.state.crop(torch.tensor([shared], device=self.state.lengths_B.device)), shared
        except SettingsError:  # a recurrence, or a window that has moved on: read anew
            return None, 0


class Talk:
    """A conversation on its way.

    messages: what was said. dropped: how many messages the last prompt had to leave out. read: how many tokens of the
    last prompt had to be read. result: the last answer in full.
    """

    def __init__(
        self, model: LanguageModel, chat: Chat, settings: SamplingSettings, compiled: Compiled = "auto"
    ) -> None:
        if model.kind != "decoder":
            raise SettingsError(f"an {model.kind} does not hold conversations: that takes a decoder")
        self.model, self.chat, self.settings, self.compiled = model, chat, settings, compiled
        self.messages: list[Message] = []
        self.dropped = self.read = 0
        self.result: Generation | None = None
        self.kept: Kept | None = None

    def answer(self) -> Generator[str, None, None]:
        """The answer to the messages so far, in pieces; it joins the messages also where the caller stops early."""
        ids, limit = self.prompt()
        settings = replace(self.settings, max_tokens=limit)
        request = Request(tuple(ids), settings, ends_of(self.chat), self.chat.tokenizer)
        if self.kept is None:
            self.kept = Kept(stepper(self.model, limit, self.compiled))
        self.read = len(ids) - self.kept.common(ids)[1]
        results: list[Generation] = []
        said = ""
        try:
            with closing(stream(self.model, [request], results, cast(Stepper, self.kept))) as steps:
                for step in steps:
                    text = step.text if said else step.text.lstrip()  # a template may leave the space to the model
                    said += text
                    if text:
                        yield text
        finally:
            self.result = results[0] if results else None
            if results:
                self.messages.append(Message("assistant", said))

    def prompt(self) -> tuple[list[int], int]:
        """The ids of as many of the last messages as fit, and how many tokens the answer may have."""
        room = self.model.max_length
        wanted = self.settings.max_tokens
        if wanted is None:
            wanted = DEFAULT_TOKENS if room is None else min(DEFAULT_TOKENS, max(1, room // SHARE_FOR_ANSWER))
        first = 1 if self.messages and self.messages[0].role == "system" else 0
        for start in turns(self.messages, first):
            shown = [*self.messages[:first], *self.messages[start:]]
            ids = prompt_ids(self.chat, [{"role": one.role, "content": one.content} for one in shown])
            if room is None or len(ids) + wanted <= room:
                self.dropped = start - first
                return ids, wanted
        raise SettingsError(
            f"the last message with what must stay before it has {len(ids)} tokens, which with {wanted} for the answer "
            f"exceed the model's {room}: shorten it, or set max_tokens lower"
        )

    def forget_answer(self) -> None:
        """Takes the last answer back; SettingsError where there is none."""
        if not self.messages or self.messages[-1].role != "assistant":
            raise SettingsError("there is no answer to be given again")
        self.messages.pop()


def turns(messages: Sequence[Message], first: int) -> list[int]:
    """Where a conversation can begin: at `first`, or at a later message of the user."""
    places = [place for place, message in enumerate(messages) if place > first and message.role == "user"]
    return [first, *places]


def ends_of(chat: Chat) -> frozenset[int]:
    """The tokens that end an answer: the tokenizer's end, and what the template writes behind an answer."""
    tokenizer = chat.tokenizer
    ends = set() if tokenizer.eos_id is None else {tokenizer.eos_id}
    text = chat.render(Conversation((Message("user", "?"), Message("assistant", MARK))))
    after = text.rpartition(MARK)[2].lstrip()
    names = [name for name in chat.control if after.startswith(name)]
    if names:
        ends.add(cast(int, tokenizer.inner.token_to_id(max(names, key=len))))
    return frozenset(ends)
