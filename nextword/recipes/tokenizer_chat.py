"""`nextword tokenizer show --chat`: a conversation as a model reads it, role by role, and what of it is learnt."""

import json
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from nextword.core.errors import DataError
from nextword.core.files import read_json
from nextword.core.records import Conversation, Message
from nextword.tokenizers.conversations import FRAME, Chat, Encoded

STYLES = {FRAME: "dim", "system": "magenta", "user": "cyan", "assistant": "green"}
OTHER = "yellow"
LEARNT = " bold underline"


def show(folder: Path, file: Path, as_json: bool) -> None:
    """Prints the conversation in `file` in the colours of its roles; what is trained is bold and underlined."""
    chat = Chat.load(folder)
    found = chat.encode(read_conversation(file))
    texts = [chat.tokenizer.token_bytes(number).decode(errors="backslashreplace") for number in found.ids]
    if as_json:
        rows = zip(found.ids, texts, found.roles, found.trained, strict=True)
        tokens = [{"id": number, "text": text, "role": role, "trained": yes} for number, text, role, yes in rows]
        print(json.dumps({"text": found.text, "tokens": tokens}, ensure_ascii=False))
        return
    console = Console(highlight=False)
    if console.is_terminal:
        console.print(coloured(found, texts), soft_wrap=True)
    else:
        for role, text, yes in zip(found.roles, texts, found.trained, strict=True):
            print(f"{role:<10} {'+' if yes else ' '} {text!r}")
    print(f"{len(found.ids)} tokens, {sum(found.trained)} trained ({'underlined' if console.is_terminal else '+'})")


def coloured(found: Encoded, texts: list[str]) -> Text:
    """The text, each token in the colour of its role."""
    whole = Text()
    for text, role, yes in zip(texts, found.roles, found.trained, strict=True):
        whole.append(text, STYLES.get(role, OTHER) + (LEARNT if yes else ""))
    return whole


def read_conversation(file: Path) -> Conversation:
    """A list of {"role", "content", "trained"} in JSON, or an object with it as "messages"."""
    tree: Any = read_json(file)
    entries = tree.get("messages") if isinstance(tree, dict) else tree
    if not isinstance(entries, list) or not entries:
        raise DataError(f'{file} holds no message: it is a list such as [{{"role": "user", "content": "Hello"}}]')
    messages = []
    for number, entry in enumerate(entries, start=1):
        fields = entry if isinstance(entry, dict) else {}
        role, content, trained = fields.get("role"), fields.get("content"), fields.get("trained")
        if not (isinstance(role, str) and isinstance(content, str) and (trained is None or isinstance(trained, bool))):
            raise DataError(
                f"{file}: message {number} has not both role and content as texts (and trained as true or false)"
            )
        messages.append(Message(role, content, trained))
    return Conversation(tuple(messages))
