"""Chat templates: small programs in Jinja that come with a checkpoint, run where they can do no harm.

A template is foreign code. It sees only the messages and the names of control tokens; the sandbox of Jinja forbids
attributes of Python's own, nothing can be imported or changed, and time, texts and numbers are bounded: a template that
loops is stopped. The text it gives is that of transformers' `apply_chat_template`, which sets Jinja up in the same way
(newlines behind blocks are dropped, `break` and `continue`, `raise_exception`, `strftime_now`, `{% generation %}`).
"""

import json
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from types import FrameType
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.compiler import CodeGenerator, Frame
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from nextword.core.errors import DataError

LONGEST_TEXT = 16 << 20  # characters, of a result and of everything on the way to it
LONGEST_SECONDS = 10.0  # a real template takes some milliseconds
LARGEST_NUMBER = 1 << 20  # that a template may hand to a function: widths, counts
FILTERS_LEFT_OUT = (
    "center",
    "format",
    "indent",
    "wordwrap",
    "xmlattr",
    "urlize",
    "pprint",
    "random",
    "replace",
    "join",
)


class Refused(Exception):
    """What a template may not do, or what it raised itself."""


def bounded(parts: Iterable[Any]) -> str:
    """The parts as one text, unless it is too long."""
    texts, length = [], 0
    for part in parts:
        text = str(part)
        length += len(text)
        if length > LONGEST_TEXT:
            raise Refused(f"it makes a text of more than {LONGEST_TEXT} characters")
        texts.append(text)
    return "".join(texts)


class _Generator(CodeGenerator):
    """Jinja's compiler, with `a ~ b` bounded too."""

    def visit_Concat(self, node: nodes.Concat, frame: Frame) -> None:
        self.write("environment.concat((")
        for part in node.nodes:
            self.visit(part, frame)
            self.write(", ")
        self.write("))")


class _Generation(Extension):
    """{% generation %} ... {% endgeneration %}: transformers' mark of what is trained; its content is kept."""

    tags = {"generation"}

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class _Sandbox(ImmutableSandboxedEnvironment):
    code_generator_class = _Generator
    concat = staticmethod(bounded)
    intercepted_binops = frozenset(["+", "*", "**", "%"])

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        if operator == "+" and isinstance(left, str) and isinstance(right, str):
            return bounded((left, right))
        if operator == "%" and isinstance(left, str):
            raise Refused("it formats text with %")
        if operator in {"*", "**"} and not all(
            isinstance(v, int | float) and abs(v) <= LARGEST_NUMBER for v in (left, right)
        ):
            raise Refused(f"it multiplies something other than numbers up to {LARGEST_NUMBER}")
        if operator == "**" and abs(right) > 64:  # noqa: PLR2004 - as many bits as a number usually has
            raise Refused("it raises to a power above 64")
        if operator == "+" and isinstance(left, list | tuple) and len(left) + len(right) > LARGEST_NUMBER:
            raise Refused("it makes a list that is too long")
        return super().call_binop(context, operator, left, right)

    def call(self, context: Any, function: Any, *args: Any, **kwargs: Any) -> Any:
        if any(isinstance(value, int) and abs(value) > LARGEST_NUMBER for value in (*args, *kwargs.values())):
            raise Refused(f"it asks for more than {LARGEST_NUMBER} of something")
        if getattr(function, "__name__", "") in {"replace", "join", "format", "format_map", "expandtabs", "translate"}:
            sizes = [
                len(value) for value in (*args, getattr(function, "__self__", "")) if isinstance(value, str | list)
            ]
            if max(sizes, default=0) * max(sizes[:-1], default=1) > LONGEST_TEXT:
                raise Refused(f"it may make a text of more than {LONGEST_TEXT} characters")
        return super().call(context, function, *args, **kwargs)


def compiled(source: str, where: str) -> Callable[..., str]:
    """A function that renders the template with its keyword arguments; DataError where it cannot or may not."""
    environment = _Sandbox(trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols], loader=None)
    for name in FILTERS_LEFT_OUT:
        environment.filters.pop(name, None)
    environment.filters.update({"tojson": _as_json, "join": _joined, "replace": _replaced})
    environment.globals.update({"raise_exception": _raise, "strftime_now": lambda form: datetime.now().strftime(form)})
    environment.globals.pop("lipsum", None)
    try:
        template = environment.from_string(source)
    except (jinja2.TemplateError, RecursionError, MemoryError) as error:
        raise DataError(f"{where} is not a template that can be read: {_line(error)}") from None

    def render(**values: Any) -> str:
        try:
            return _within(LONGEST_SECONDS, lambda: template.render(**values))
        except (Refused, jinja2.TemplateError, RecursionError, MemoryError) as error:
            raise DataError(f"{where} refuses this conversation or may not run: {_line(error)}") from None
        except (TypeError, ValueError, KeyError, AttributeError, ArithmeticError, LookupError) as error:
            raise DataError(f"{where} fails on this conversation: {type(error).__name__}: {_line(error)}") from None

    return render


def _within(seconds: float, work: Callable[[], str]) -> str:
    """Runs `work`; once the time is over, the next line of a template raises Refused."""
    end = time.monotonic() + seconds

    def watch(frame: FrameType, event: str, argument: Any) -> Any:
        if not frame.f_code.co_filename.startswith("<template"):
            return None
        if time.monotonic() > end:
            raise Refused(f"it has not come to an end after {seconds:g} seconds")
        return watch

    before = sys.gettrace()
    sys.settrace(watch)
    try:
        return work()
    finally:
        sys.settrace(before)


def _raise(message: str) -> None:
    raise Refused(str(message))


def _as_json(
    value: Any, ensure_ascii: bool = False, indent: int | None = None, separators: Any = None, sort_keys: bool = False
) -> str:
    return bounded(
        [json.dumps(value, ensure_ascii=ensure_ascii, indent=min(indent or 0, 16) or None, separators=separators)]
    )


def _joined(value: Iterable[Any], between: str = "", attribute: str | None = None) -> str:
    items: Sequence[Any] = list(value)
    if attribute is not None:
        items = [item.get(attribute) if isinstance(item, Mapping) else "" for item in items]
    return bounded(part for place, item in enumerate(items) for part in ((str(between), item) if place else (item,)))


def _replaced(value: Any, old: str, new: str, count: int | None = None) -> str:
    text = str(value)
    found = text.count(old) if count is None else min(count, text.count(old))
    if len(text) + found * len(new) > LONGEST_TEXT:
        raise Refused(f"it makes a text of more than {LONGEST_TEXT} characters")
    return text.replace(old, new, found)


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]
