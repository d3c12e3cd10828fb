"""`nextword tokenize`: text to a folder of tokens."""

import json
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from nextword.core.progress import duration
from nextword.data.shards import SPLITS, check_place, read_index
from nextword.data.tokenize import tokenize
from nextword.recipes.sources import open_documents
from nextword.recipes.tokenize_settings import TokenizeSettings
from nextword.text.settings import SplitSettings, TextSettings
from nextword.text.split import split
from nextword.tokenizers.base import Tokenizer


def main(settings: TokenizeSettings) -> None:
    """Tokenises, then prints the counts and what to type next."""
    began = time.monotonic()
    facts = tokenize_text(
        settings.text,
        settings.split,
        settings.tokenizer,
        settings.out,
        workers=settings.workers,
        quiet=settings.quiet,
    )
    if settings.json:
        print(json.dumps(facts | {"out": str(settings.out)}))
        return
    table = Table("", "documents", "tokens", "bytes", "words", "bytes per token", box=None, padding=(0, 2, 0, 0))
    for name in SPLITS:
        row = facts[name]
        rate = f"{row['bytes'] / row['tokens']:.2f}" if row["tokens"] else "-"
        table.add_row(name, *(f"{row[key]:,}" for key in ("documents", "tokens", "bytes", "words")), rate)
    Console(highlight=False).print(table)
    print(f"{settings.out}: {facts['vocab_size']:,} tokens in the vocabulary, {duration(time.monotonic() - began)}")
    print(f"next: nextword pretrain {settings.out} --out runs/first")


def tokenize_text(
    text: TextSettings,
    shares: SplitSettings,
    tokenizer: Path,
    out: Path,
    *,
    workers: int | None = None,
    quiet: bool = False,
) -> dict[str, Any]:
    """Writes the folder of tokens `out`; its vocabulary size, how the text was split, and the counts of each split.

    Raises what reading, splitting and tokenising raise; `out` is then as it was.
    """
    check_place(out)
    loaded = Tokenizer.load(tokenizer)
    plan = split(partial(open_documents, text), shares)
    if not quiet:
        print(plan.sentence, file=sys.stderr)
    tokenize(loaded, plan, out, how=plan.sentence, workers=workers, characters=plan.characters, quiet=quiet)
    index = read_index(out)
    counts = {
        name: {key: part[key] for key in ("documents", "tokens", "bytes", "words")}
        for name, part in index["splits"].items()
    }
    return {"vocab_size": index["vocab_size"], "split": index["split"], **counts}
