"""`nextword tokenizer show`: a text as a tokenizer sees it."""

import json
import sys
from dataclasses import asdict, dataclass

from rich.console import Console
from rich.table import Table
from rich.text import Text

from nextword.core.errors import DataError
from nextword.recipes import tokenizer_chat
from nextword.recipes.tokenizer_settings import ShowTokenizer
from nextword.tokenizers.base import Tokenizer

COLOURS = (
    "on bright_cyan",
    "on bright_yellow",
    "on bright_green",
    "on bright_magenta",
)  # even of 16 colours all differ
INK = "black "
ROWS = 60  # of the table; --json gives all


@dataclass(frozen=True)
class Shown:
    """One token: its id, what the vocabulary calls it, the bytes it stands for, and these as text."""

    id: int
    token: str
    text: str
    bytes: list[int]


def main(settings: ShowTokenizer) -> None:
    """Prints the tokens, a table of them, and bytes and characters per token."""
    if settings.chat is not None:
        if settings.text is not None or settings.file is not None:
            raise DataError("give a text, --file or --chat, not both")
        tokenizer_chat.show(settings.tokenizer, settings.chat, settings.json)
        return
    tokenizer = Tokenizer.load(settings.tokenizer)
    text = read_text(settings)
    if not text:
        raise DataError('there is no text to show: give one, as in `nextword tokenizer show TOKENIZER "some text"`')
    tokens = explain(tokenizer, text)
    size = len(text.encode())
    if settings.json:
        facts = {"kind": tokenizer.kind, "vocab_size": tokenizer.vocab_size, "bytes": size, "characters": len(text)}
        print(json.dumps(facts | {"tokens": [asdict(token) for token in tokens]}, ensure_ascii=False))
        return
    console = Console(highlight=False)
    if console.is_terminal:
        console.print(coloured(tokens), soft_wrap=True)
    else:
        print("|".join(token.text for token in tokens))
    print()
    console.print(table(tokens))
    count = max(len(tokens), 1)
    per = f"{size / count:.2f} bytes and {len(text) / count:.2f} characters per token"
    print(f"{len(tokens)} tokens for {size} bytes, {len(text)} characters: {per}")


def read_text(settings: ShowTokenizer) -> str:
    """The text from the command line, the file, or standard input; DataError when it is missing or not UTF-8."""
    if settings.text is not None and settings.file is not None:
        raise DataError("give a text or --file, not both")
    if settings.text is not None:
        return settings.text
    try:
        if settings.file is not None:
            return settings.file.read_bytes().decode()
        return "" if sys.stdin.isatty() else sys.stdin.buffer.read().decode()
    except UnicodeDecodeError as error:
        raise DataError(f"{settings.file or 'standard input'} is not valid UTF-8 at byte {error.start}") from None
    except OSError as error:
        raise DataError(f"{settings.file} cannot be read: {error.strerror}") from None


def explain(tokenizer: Tokenizer, text: str) -> list[Shown]:
    """What there is to say of each token of `text`."""
    shown = []
    for number in tokenizer.encode(text):
        data = tokenizer.token_bytes(number)
        shown.append(Shown(number, tokenizer.token(number), data.decode(errors="backslashreplace"), list(data)))
    return shown


def coloured(tokens: list[Shown]) -> Text:
    """The text with each token on its colour; a newline is shown as ↵ before it breaks the line."""
    whole = Text()
    for place, token in enumerate(tokens):
        style = INK + COLOURS[place % len(COLOURS)]
        for part, line in enumerate(token.text.split("\n")):
            if part:
                whole.append("↵", style)
                whole.append("\n")
            whole.append(line, style)
    return whole


def visible(text: str) -> str:
    """The text with what does not print, such as a newline, written as Python writes it."""
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


def table(tokens: list[Shown]) -> Table:
    """Token, id and bytes, line by line; the first `ROWS` of them."""
    rows = Table("token", "id", "bytes", box=None, padding=(0, 2, 0, 0))
    for token in tokens[:ROWS]:
        data = " ".join(f"{byte:02x}" for byte in token.bytes)
        rows.add_row(Text(visible(token.text)), str(token.id), f"{len(token.bytes)}: {data}")
    if len(tokens) > ROWS:
        rows.add_row("…", "", f"{len(tokens) - ROWS} more; --json gives all")
    return rows
