"""How settings of tokens are written on the command line: 5=-3,7=2 for numbers by token, "5 7,8" for sequences."""

from collections.abc import Callable, Sequence
from typing import Any

from cyclopts import Parameter


def by_number(kind: Callable[[str], Any]) -> Parameter:
    """Pairs such as 5=-3,7=2, between commas or spaces, or both."""

    def read(_: Any, tokens: Sequence[Any]) -> dict[int, Any]:
        pairs = [pair.partition("=") for token in tokens for pair in token.value.replace(",", " ").split()]
        return {int(number): kind(value) for number, _, value in pairs}

    return Parameter(converter=read, n_tokens=-1, accepts_keys=False)


def sequences() -> Parameter:
    """Sequences of numbers: commas within one, spaces between them."""

    def read(_: Any, tokens: Sequence[Any]) -> tuple[tuple[int, ...], ...]:
        words = [word for token in tokens for word in token.value.split()]
        return tuple(tuple(int(number) for number in word.split(",")) for word in words)

    return Parameter(converter=read, n_tokens=-1)
