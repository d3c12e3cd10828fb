"""A conversation as a model reads it: ids, whose they are, and which of them are learnt.

A chat template writes messages into one text with signs between them ("<|im_start|>user ... <|im_end|>"). Fine-tuning
learns to write the assistant's part alone, so every token must be known to be inside or outside of it. Templates do not
say. Here it is derived from structure: the template is rendered once with the messages and once with a mark in place of
each content. What stands between the marks is the frame; frame and contents put together must be the text, letter by
letter, or the conversation is refused. The assistant's content is trained, and the control token that ends its turn.

Signs count as control tokens only in the frame: a user who types "<|im_end|>" writes letters.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from nextword.core.errors import DataError
from nextword.core.records import Conversation
from nextword.tokenizers.base import Tokenizer
from nextword.tokenizers.dialogue import FILE
from nextword.tokenizers.found import CONFIG
from nextword.tokenizers.sandbox import compiled

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
CHATML_END = "<|im_end|>"
MARK = "\ue0f0{}\ue0f1"  # of the private use area, which no template has
FRAME = "template"  # the role of what the template itself writes


class Span(NamedTuple):
    """A part of the text: a message's content, or (message None) of the frame; trained: learnt."""

    start: int
    end: int
    message: int | None
    trained: bool


@dataclass(frozen=True)
class Encoded:
    """Ids of a conversation; by token: the role ("user", "template", ...), and whether it is trained."""

    text: str
    ids: list[int]
    roles: list[str]
    trained: list[bool]


class Chat:
    """A tokenizer with a chat template.

    control: names that are control tokens in the frame. ends: names that may end a turn.
    """

    def __init__(self, tokenizer: Tokenizer, source: str = CHATML, where: str = "the built-in template") -> None:
        self.tokenizer, self.source, self.where = tokenizer, source, where
        self.render_template: Callable[..., str] = compiled(source, where)
        self.control = sorted((tokenizer.token(number) for number in tokenizer.specials), key=len, reverse=True)
        self.ends = {*self.control, CHATML_END}
        roles = {"bos": tokenizer.bos_id, "eos": tokenizer.eos_id, "pad": tokenizer.pad_id, "unk": tokenizer.unk_id}
        self.names = {f"{role}_token": tokenizer.token(number) for role, number in roles.items() if number is not None}

    @classmethod
    def load(cls, folder: Path | str) -> "Chat":
        """Tokenizer and template of a folder; the built-in ChatML where it has no template."""
        tokenizer = Tokenizer.load(Path(folder))
        return cls.found(folder, tokenizer) or cls(tokenizer)

    @classmethod
    def found(cls, folder: Path | str, tokenizer: Tokenizer) -> "Chat | None":
        """The template of a folder, with its tokenizer; None where it has none."""
        path = Path(folder)
        if tokenizer.template is None:
            return None
        own = f"the chat_template of {path / CONFIG if path.is_dir() else path}"  # a folder's, or a GGUF file's
        where = str(path / FILE) if (path / FILE).exists() else own
        return cls(tokenizer, tokenizer.template, where)

    def render(self, conversation: Conversation, add_generation_prompt: bool = False) -> str:
        """The text of the conversation; with the beginning of an answer if `add_generation_prompt`."""
        contents = [message.content for message in conversation.messages]
        return self._render(conversation, contents, add_generation_prompt)

    def encode(self, conversation: Conversation) -> Encoded:
        """Ids, roles and mask; DataError where no token would be trained, or it cannot be told which."""
        if not any(message.is_trained for message in conversation.messages):
            raise DataError("the conversation has no message of the assistant (or trained: true), so nothing to learn")
        text = self.render(conversation)
        spans = self._spans(conversation, text)
        ids: list[int] = []
        roles: list[str] = []
        trained: list[bool] = []
        for number, start, end in self._tokens(text, spans):
            touched = [span for span in spans if span.start < end and start < span.end]
            owner = next((span.message for span in touched if span.message is not None), None)
            ids.append(number)
            roles.append(FRAME if owner is None else conversation.messages[owner].role)
            trained.append(any(span.trained for span in touched))
        if not any(trained):
            raise DataError(f"{self.where} leaves no token to train in this conversation: its answers are empty")
        return Encoded(text, ids, roles, trained)

    def ids_of_prompt(self, conversation: Conversation, text: str) -> list[int]:
        """The ids of a rendering that an answer is to follow; DataError where it cannot be told what is whose."""
        return [number for number, _, _ in self._tokens(text, self._spans(conversation, text, True))]

    def ids_of_frame(self, text: str) -> list[int]:
        """The ids of a text in which every sign is a control token."""
        return [number for number, _, _ in self._tokens(text, [Span(0, len(text), None, False)])]

    def _render(self, conversation: Conversation, contents: Sequence[str], prompt: bool) -> str:
        pairs = zip(conversation.messages, contents, strict=True)
        messages: list[dict[str, Any]] = [{"role": message.role, "content": content} for message, content in pairs]
        return self.render_template(
            messages=messages, add_generation_prompt=prompt, tools=None, documents=None, **self.names
        )

    def _spans(self, conversation: Conversation, text: str, prompt: bool = False) -> list[Span]:
        """The text cut into contents and frame, from the rendering with marks."""
        messages = conversation.messages
        marked = self._render(conversation, [MARK.format(place) for place in range(len(messages))], prompt)
        parts = re.split(MARK.format(r"(\d+)"), marked)
        frames, order = parts[::2], [int(place) for place in parts[1::2]]
        if max(order, default=0) >= len(messages):
            raise DataError(f"{self.where} writes the marks {MARK[0]!r} and {MARK[-1]!r}, which are kept for this use")
        lost = [place for place, message in enumerate(messages) if message.is_trained and order.count(place) != 1]
        if lost:
            raise DataError(
                f"{self.where} writes message {lost[0] + 1} ({messages[lost[0]].role}) {order.count(lost[0])} times: "
                "it cannot be told which tokens to train: mend the template, or leave the message out"
            )
        contents: list[str] = []
        place = len(frames[0])
        for number, frame in zip(order, frames[1:], strict=True):
            whole = messages[number].content
            contents.append(whole if text.startswith(whole + frame, place) else whole.strip())  # many templates trim
            place += len(contents[-1]) + len(frame)
        if text == "".join(part for pair in zip(frames, [*contents, ""], strict=True) for part in pair):
            return self._lay_out(frames, order, contents, conversation)
        raise DataError(
            f"{self.where} changes the messages while it writes them, so it cannot be told which tokens to train: use "
            "a template that writes contents as they are"
        )

    def _lay_out(
        self, frames: Sequence[str], order: Sequence[int], contents: Sequence[str], conversation: Conversation
    ) -> list[Span]:
        spans, place = [Span(0, len(frames[0]), None, False)], len(frames[0])
        for number, content, frame in zip(order, contents, frames[1:], strict=True):
            learnt = conversation.messages[number].is_trained
            spans.append(Span(place, place + len(content), number, learnt))
            place += len(content)
            end = self._turn_end(frame) if learnt else 0
            spans += [Span(place, place + end, None, True), Span(place + end, place + len(frame), None, False)]
            place += len(frame)
        return [span for span in spans if span.start < span.end]

    def _turn_end(self, frame: str) -> int:
        """How much of the frame behind an answer ends the turn: white space and one control token."""
        blank = len(frame) - len(frame.lstrip())
        names = [name for name in self.ends if frame.startswith(name, blank)]
        return blank + len(max(names, key=len)) if names else 0

    def _tokens(self, text: str, spans: Sequence[Span]) -> list[tuple[int, int, int]]:
        """Id, start and end of each token; control tokens where the frame has them, everything else as text."""
        found: list[tuple[int, int, int]] = []
        place = 0
        signs = re.compile("|".join(map(re.escape, self.control)) or r"(?!)")  # without signs: what never matches
        for start, end in _joined_frames(spans):
            for match in signs.finditer(text, start, end):
                found += self._plain(text, place, match.start())
                number = self.tokenizer.inner.token_to_id(match[0])
                assert number is not None, "control tokens are the tokenizer's own"
                found.append((number, match.start(), match.end()))
                place = match.end()
        return found + self._plain(text, place, len(text))

    def _plain(self, text: str, start: int, end: int) -> list[tuple[int, int, int]]:
        if start == end:
            return []
        encoding = self.tokenizer.inner.encode(text[start:end], add_special_tokens=False)
        return [
            (number, start + first, start + last)
            for number, (first, last) in zip(encoding.ids, encoding.offsets, strict=True)
        ]


def _joined_frames(spans: Sequence[Span]) -> list[tuple[int, int]]:
    frames: list[tuple[int, int]] = []
    for span in spans:
        if span.message is not None:
            continue
        if frames and frames[-1][1] == span.start:
            frames[-1] = (frames[-1][0], span.end)
        else:
            frames.append((span.start, span.end))
    return frames
