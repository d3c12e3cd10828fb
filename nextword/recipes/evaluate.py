"""`nextword evaluate`: the perplexity of a model on text or on a folder of tokens."""

import json
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from nextword.assembly.folder import Assembled, load
from nextword.core.errors import SettingsError
from nextword.core.progress import Progress
from nextword.data.shards import Tokens
from nextword.evals.gaps import gaps
from nextword.evals.perplexity import Sums, perplexity
from nextword.evals.settings import EvaluateSection
from nextword.evals.windows import texts_of_documents, texts_of_stream, texts_of_tokens
from nextword.recipes import run_report, sources
from nextword.recipes.evaluate_settings import EvaluateSettings
from nextword.text.settings import TextSettings

COLUMNS = {  # name of a figure -> heading and format
    "texts": ("texts", ",d"),
    "tokens": ("tokens", ",d"),
    "loss": ("loss", ".4f"),
    "perplexity": ("per token", ".2f"),
    "perplexity_per_word": ("per word", ".2f"),
    "perplexity_per_byte": ("per byte", ".3f"),
    "bits_per_byte": ("bits per byte", ".4f"),
}


def main(settings: EvaluateSettings) -> None:
    """Scores and prints a table, or JSON."""
    if settings.tokens is not None:
        work = evaluate_gaps if settings.gaps else evaluate_tokens
        found = work(settings.model, settings.tokens, settings.evaluate, split=settings.split, quiet=settings.quiet)
    else:
        found = evaluate_text(settings.model, settings.text, settings.evaluate, quiet=settings.quiet)
    if settings.json:
        print(json.dumps(found, indent=2))
        return
    console = Console(width=None if Console().is_terminal else 120)
    console.print(gap_table(found["all"]) if settings.gaps else table(found))
    console.print(f"\nscored: {found['what']}", style="dim", highlight=False)


def table(found: dict[str, Any]) -> Table:
    """The figures, a line a source and one for all."""
    shown = Table("perplexity on", *(heading for heading, _ in COLUMNS.values()), box=None, padding=(0, 2, 0, 0))
    for column in shown.columns[1:]:
        column.justify = "right"
    lines = dict(found["sources"]) if len(found["sources"]) > 1 else {}
    for name, figures in [*lines.items(), ("all", found["all"])]:
        cells = [format(figures[key], form) if figures[key] is not None else "-" for key, (_, form) in COLUMNS.items()]
        shown.add_row(name, *cells, style="bold" if name == "all" and lines else "")
    return shown


def gap_table(figures: dict[str, Any]) -> Table:
    """What a model that fills gaps was found to reach."""
    shown = Table("gaps", "", box=None, padding=(0, 2, 0, 0))
    shown.add_row("tokens", f"{figures['tokens']:,}")
    shown.add_row("loss", f"{figures['loss']:.4f}")
    for name, cell in run_report.metric_rows(figures["metrics"]).items():
        shown.add_row(name, cell)
    return shown


def evaluate_text(
    model: str | Path, text: TextSettings, settings: EvaluateSection, *, quiet: bool = False
) -> dict[str, Any]:
    """Perplexity of a model folder on documents (`nextword.evals.perplexity` says what the figures are)."""
    assembled = load(model, device=settings.device)
    texts = texts_of_documents(sources.open_documents(text), assembled.tokenizer, settings.score_end)
    with Progress("evaluate", settings.max_tokens, "tokens", quiet=quiet) as bar:
        return perplexity(assembled.model, texts, settings, lambda done, sums: show(bar, done, sums))


def evaluate_tokens(
    model: str | Path, folder: Path, settings: EvaluateSection, *, split: str = "validation", quiet: bool = False
) -> dict[str, Any]:
    """Perplexity of a model folder on one split of a folder of tokens made with the same tokenizer."""
    assembled, tokens = opened(model, folder, split, settings.device)
    max_length = assembled.model.max_length
    if settings.windows is None:
        texts = texts_of_tokens(tokens, assembled.tokenizer.bos_id, settings.score_end)
    elif max_length is not None and settings.windows > max_length:
        raise SettingsError(f"--windows {settings.windows} is more than the model's max_length of {max_length}")
    else:
        texts = texts_of_stream(tokens, settings.windows)
    total = min(len(tokens), settings.max_tokens or len(tokens))
    with Progress("evaluate", total, "tokens", quiet=quiet) as bar:
        return perplexity(assembled.model, texts, settings, lambda done, sums: show(bar, done, sums))


def evaluate_gaps(
    model: str | Path, folder: Path, settings: EvaluateSection, *, split: str = "validation", quiet: bool = False
) -> dict[str, Any]:
    """How well an encoder or encoder-decoder fills gaps in one split of a folder of tokens (`nextword.evals.gaps`)."""
    assembled, tokens = opened(model, folder, split, settings.device)
    with Progress("evaluate", None, "tokens", quiet=quiet) as bar:
        return gaps(assembled.model, assembled.tokenizer, tokens, settings, bar.update)


def opened(model: str | Path, folder: Path, split: str, device: str) -> tuple[Assembled, Tokens]:
    """A model and tokens of its own tokenizer; SettingsError where they are another's."""
    assembled, tokens = load(model, device=device), Tokens.open(folder, split)
    if tokens.fingerprint != assembled.tokenizer.fingerprint:
        raise SettingsError(
            f"{folder} was made with another tokenizer than that of {model}: evaluate it on the text with --text, or "
            "tokenise the text again with this tokenizer"
        )
    return assembled, tokens


def show(bar: Progress, done: int, sums: Sums) -> None:
    """Draws the progress."""
    bar.update(done, loss=f"{sums.nats / sums.tokens:.3f}")
