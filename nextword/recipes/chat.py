"""`nextword chat`: a conversation with a model in the terminal."""

import sys
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from nextword.assembly.folder import load
from nextword.core.errors import NextwordError, SettingsError, nearest
from nextword.core.files import write_json
from nextword.core.records import Message
from nextword.core.settings import build, to_tree
from nextword.decode.settings import SamplingSettings
from nextword.engine.conversation import PLAIN, PLAIN_STOP, Talk
from nextword.recipes.chat_settings import ChatSettings
from nextword.recipes.generate import figures, with_files
from nextword.tokenizers.conversations import Chat

HELP = """/system TEXT       what the model is told before the conversation (without a text: nothing)
/retry             the last answer again, drawn anew
/reset             a new conversation
/save FILE         the conversation as JSON, which `nextword tokenizer show --chat` reads
/settings          the settings; /settings temperature=0.7 top_p=0.9 changes some
/quit              leaves, as Ctrl-D does"""


def main(settings: ChatSettings) -> int:
    """Talks until the input ends."""
    assembled = load(settings.model, device=settings.device)
    sampling = with_files(settings.sampling)
    if settings.plain:
        chat: Chat | None = Chat(assembled.tokenizer, PLAIN, "the plain form")
        sampling = replace(sampling, stop=(*sampling.stop, PLAIN_STOP))
    else:
        chat = Chat.found(assembled.folder, assembled.tokenizer)
    if chat is None:
        raise SettingsError(
            f"{settings.model} has no conversation template (chat_template.jinja), so it was not trained to converse: "
            "use a model that was, put the template there that it was trained with, or try --plain"
        )
    terminal = Terminal(Talk(assembled.model, chat, sampling, settings.compiled), settings.quiet)
    terminal.system(settings.system)
    return terminal.run()


class Terminal:
    """Reads lines, prints answers."""

    def __init__(self, talk: Talk, quiet: bool) -> None:
        self.talk, self.quiet = talk, quiet
        self.typed = sys.stdin.isatty()
        self.commands: dict[str, Callable[[str], None]] = {
            "system": self.system, "retry": self.retry, "reset": self.reset, "save": self.save,
            "settings": self.settings, "help": self.help,
        }  # fmt: skip

    def run(self) -> int:
        """Until the input ends; the exit status: not 0 where something went wrong with nobody there to see it."""
        if self.typed:
            self.notice("a line is a message; /help for more, Ctrl-C ends an answer, Ctrl-D leaves")
        while True:
            try:
                line = input("> " if self.typed else "")
            except EOFError:
                return 0
            except KeyboardInterrupt:
                if not self.typed:
                    raise
                print()
                self.notice("Ctrl-D leaves")
                continue
            except UnicodeDecodeError as error:
                raise SettingsError(f"the input is not UTF-8 ({error.reason})") from None
            if line.rstrip() in {"/quit", "/exit"}:
                return 0
            try:
                self.take(line)
            except NextwordError as error:
                if not self.typed:
                    raise
                print(f"error: {error}", file=sys.stderr)

    def take(self, line: str) -> None:
        """A message or a command."""
        name, _, rest = line.removeprefix("/").strip().partition(" ")
        if line.startswith("/"):
            if name not in self.commands:
                raise SettingsError(
                    f"no command /{name}{nearest(name, self.commands)}; a message may begin with a space"
                )
            self.commands[name](rest.strip())
        elif line.strip():
            self.talk.messages.append(Message("user", line.strip()))
            self.answer()

    def answer(self) -> None:
        """Prints the answer as it is made; Ctrl-C ends it, and what was said stays."""
        before = self.talk.dropped
        reason = None
        pieces = self.talk.answer()
        try:
            for piece in pieces:
                print(piece, end="", flush=True)
        except KeyboardInterrupt:
            pieces.close()
            if not self.typed:
                raise
            reason = "interrupted"
        except NextwordError:
            while self.talk.messages and self.talk.messages[-1].role == "user":
                self.talk.messages.pop()  # it cannot be answered, and would stand in the way of the next
            raise
        print(flush=True)
        if self.talk.dropped > before:
            self.notice(f"the context is full: the {self.talk.dropped} oldest messages are no longer read")
        if self.talk.result is not None:
            self.notice(figures(self.talk.result, reason or self.talk.result.reason).strip("[]"))

    def system(self, text: str) -> None:
        """Sets or removes the system message."""
        said = [message for message in self.talk.messages if message.role != "system"]
        self.talk.messages = [Message("system", text), *said] if text else said

    def retry(self, _: str) -> None:
        """Answers again, with another seed where one was set."""
        self.talk.forget_answer()
        seed = self.talk.settings.seed
        if seed is not None:
            self.talk.settings = replace(self.talk.settings, seed=seed + 1)
        self.answer()

    def reset(self, _: str) -> None:
        """A new conversation under the same system message."""
        self.talk.messages = [message for message in self.talk.messages if message.role == "system"]
        self.talk.dropped = 0
        self.notice("a new conversation")

    def save(self, name: str) -> None:
        """Writes the messages as JSON."""
        if not name:
            raise SettingsError("/save needs a file: /save conversation.json")
        messages = [{"role": message.role, "content": message.content} for message in self.talk.messages]
        write_json(Path(name), {"messages": messages})
        self.notice(f"{len(messages)} messages in {name}")

    def settings(self, text: str) -> None:
        """Shows what is not as usual, or changes settings by name=value."""
        changes: dict[str, Any] = {}
        for pair in text.split():
            name, equals, value = pair.partition("=")
            if not equals:
                raise SettingsError(f"a setting is changed by name=value, received {pair!r}")
            changes[name] = None if value in {"", "none"} else value
        if changes:
            self.talk.settings = build(SamplingSettings, to_tree(self.talk.settings) | changes, "settings")
        current = self.talk.settings
        print(", ".join(f"{field.name}={getattr(current, field.name)}" for field in fields(current)), file=sys.stderr)

    def help(self, _: str) -> None:
        """What can be said beside messages."""
        print(HELP, file=sys.stderr)

    def notice(self, text: str) -> None:
        """A line that is no answer."""
        if not self.quiet:
            print(f"[{text}]", file=sys.stderr, flush=True)
