"""Functions that a model may call: told to it by its template, and read from what it answers.

There is no common form. The one read here is that of Hermes and Qwen (2.5 and 3), in which many open models were
trained: JSON between two marks, anywhere in an answer.

    <tool_call>
    {"name": "weather", "arguments": {"town": "Aalen"}}
    </tool_call>

What stands between marks and is no such JSON stays text. (Nous Research, "Hermes Function Calling", 2024.)
"""

import json
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from nextword.serve.errors import Refusal
from nextword.tokenizers.conversations import Chat

BEGIN, END = "<tool_call>", "</tool_call>"
NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
ID_BYTES = 12
Object = dict[str, Any]


def check(chat: Chat, tools: Sequence[Object]) -> None:
    """Refusal for tools that are none, or that the model's template does not know."""
    for tool in tools:
        function = tool.get("function")
        if tool.get("type") != "function" or not isinstance(function, dict):
            raise Refusal(400, 'a tool is {"type": "function", "function": {"name": ...}}', param="tools")
        name = function.get("name")
        if not isinstance(name, str) or not NAME.fullmatch(name):
            raise Refusal(400, f"a function's name has letters, digits, - and _, received {name!r}", param="tools")
        if not isinstance(function.get("parameters", {}), dict):
            raise Refusal(400, f"the parameters of {name} are not a JSON schema", param="tools")
    if BEGIN not in chat.source or "tools" not in chat.source:
        raise Refusal(
            400,
            f"{chat.where} does not tell the model of tools, or not in a form that can be read ({BEGIN}): leave tools "
            "out, or choose a model that was trained to call them (Qwen, Hermes)",
            param="tools",
        )


def demanded(tools: Sequence[Object], choice: str | Object | None) -> list[Object]:
    """The tools of which one must be called; none where the model may decide. Refusal for a choice that is none."""
    match choice:
        case None | "auto" | "none":
            return []
        case "required":
            found = list(tools)
        case {"type": "function", "function": {"name": name}}:
            found = [tool for tool in tools if tool["function"]["name"] == name]
        case _:
            found = []
    if not found:
        message = "tool_choice is none, auto, required, or the name of one of the tools"
        raise Refusal(400, message, param="tool_choice")
    return found


def schema_of_call(tools: Sequence[Object]) -> Object:
    """The JSON schema of a call of one of these tools."""
    kinds = [
        {
            "type": "object",
            "properties": {
                "name": {"const": tool["function"]["name"]},
                "arguments": tool["function"].get("parameters") or {"type": "object"},
            },
            "required": ["name", "arguments"],
            "additionalProperties": False,
        }
        for tool in tools
    ]
    return kinds[0] if len(kinds) == 1 else {"anyOf": kinds}


def as_template_knows(calls: Sequence[Object]) -> list[Object]:
    """Calls of an earlier answer as templates write them: arguments as objects, which clients send as texts."""
    found = []
    for call in calls:
        function = call.get("function")
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise Refusal(400, "a tool call has a function with a name and arguments", param="messages")
        try:
            arguments = json.loads(function.get("arguments") or "{}")
        except (ValueError, TypeError, RecursionError):
            raise Refusal(400, f"the arguments of {function['name']} are not JSON", param="messages") from None
        found.append({"type": "function", "function": {"name": function["name"], "arguments": arguments}})
    return found


class Call(NamedTuple):
    """A call: the how manieth of its answer, of what, and with which arguments (JSON)."""

    index: int
    name: str
    arguments: str

    def told(self) -> Object:
        """As clients know it."""
        function = {"name": self.name, "arguments": self.arguments}
        return {"id": f"call_{secrets.token_hex(ID_BYTES)}", "type": "function", "function": function}


class Calls:
    """Reads calls from an answer that comes in pieces; text and calls come out in order.

    >>> calls = Calls()
    >>> list(calls.push("One <tool_")), list(calls.push('call>{"name": "f", "arguments": {"a": 1}}</tool_call>'))
    (['One '], [Call(index=0, name='f', arguments='{"a": 1}')])
    """

    def __init__(self) -> None:
        self.held = ""
        self.count = 0
        self.fresh = True  # nothing has come

    def push(self, text: str) -> Iterator[str | Call]:
        """What the next piece completes: text, or a call."""
        self.held += text
        self.fresh = False
        while True:
            begin = self.held.find(BEGIN)
            if begin < 0:
                yield from self.give(len(self.held) - suspicious(self.held))
                return
            yield from self.give(begin)
            end = self.held.find(END)
            if end < 0:
                return
            inside, whole = self.held[len(BEGIN) : end], self.held[: end + len(END)]
            self.held = self.held[len(whole) :]
            call = read(inside, self.count)
            if call is not None:
                self.count += 1
            yield whole if call is None else call

    def flush(self) -> Iterator[str | Call]:
        """What was held back, at the end."""
        yield from self.give(len(self.held))

    def give(self, length: int) -> Iterator[str]:
        """So much of what is held."""
        shown, self.held = self.held[:length], self.held[length:]
        if shown:
            yield shown


def suspicious(text: str) -> int:
    """How much of the end of a text could be the beginning of the mark."""
    return next((count for count in range(len(BEGIN) - 1, 0, -1) if text.endswith(BEGIN[:count])), 0)


def read(inside: str, index: int) -> Call | None:
    """The call that stands between two marks; None where it is none."""
    try:
        call = json.loads(inside)
    except (ValueError, RecursionError):
        return None
    if not isinstance(call, Mapping) or not isinstance(call.get("name"), str):
        return None
    return Call(index, call["name"], json.dumps(call.get("arguments", {}), ensure_ascii=False))
