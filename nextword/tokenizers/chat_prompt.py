"""A conversation as the prompt of its next answer: the template's text as ids, with the tools that may be called.

Signs such as "<|im_end|>" are control tokens where the template writes them, and letters where a user does. Where no
content has such a sign, the text is read as a whole, as transformers does. Where one has, the template is rendered a
second time with marks in place of the contents, which shows what is whose (see `conversations`); a template whose
contents cannot be told apart then refuses.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from nextword.core.errors import DataError
from nextword.core.records import Conversation, Message
from nextword.tokenizers.conversations import Chat

Spoken = Mapping[str, Any]  # role and content, and whatever else a template may know: tool_calls, name


def prompt_ids(chat: Chat, messages: Sequence[Spoken], tools: Sequence[Any] | None = None) -> list[int]:
    """The ids up to where the answer begins; DataError where the template refuses the conversation."""
    if not messages:
        raise DataError("the conversation has no messages: an answer needs something to answer")
    text = chat.render_template(
        messages=list(messages), add_generation_prompt=True, tools=tools, documents=None, **chat.names
    )
    said = json.dumps([messages, tools], ensure_ascii=False)
    signs = [sign for sign in chat.control if sign in said]
    if not signs:
        return chat.ids_of_frame(text)
    if tools or any(set(message) - {"role", "content"} for message in messages):
        raise DataError(
            f"a message has the control token {signs[0]!r} as text, which cannot be told from a real one here"
        )
    spoken = (Message(str(message["role"]), str(message["content"])) for message in messages)
    return chat.ids_of_prompt(Conversation(tuple(spoken)), text)
